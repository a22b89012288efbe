//! The prefetched items, and which of them an engine then requested, from the client's log.
//! Must never count an item as used by a request that came before it.

use std::collections::BTreeMap;

use serde::Serialize;

/// Items and bytes that were prefetched.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PrefetchUsage {
    pub(super) items: usize,
    pub(super) bytes: u64,
    /// Items that no engine requested before the end, or before they were prefetched again.
    pub(super) unused: Vec<String>,
    pub(super) unused_bytes: u64,
}

impl PrefetchUsage {
    /// Parses a log of the level `debug`.
    pub(super) fn of(log: &str) -> Self {
        let mut usage = Self::default();
        // Prefetched items that have not been requested yet.
        let mut waiting: BTreeMap<&str, u64> = BTreeMap::new();
        for line in log.lines() {
            let Some(content) = field(line, "content=") else { continue };
            if line.contains("came ahead") {
                let bytes = field(line, "bytes=").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
                usage.items += 1;
                usage.bytes += bytes;
                if let Some(bytes) = waiting.insert(content, bytes) {
                    usage.add_unused(content, bytes);
                }
            } else if line.contains("answered from here") {
                waiting.remove(content);
            }
        }
        for (content, bytes) in waiting {
            usage.add_unused(content, bytes);
        }
        usage
    }

    fn add_unused(&mut self, content: &str, bytes: u64) {
        self.unused.push(content.to_owned());
        self.unused_bytes += bytes;
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_prefetched_twice_is_unused_once() {
        let came = |what, bytes| format!("DEBUG docxy_client: came ahead content={what} bytes={bytes}\n");
        let answered = |what| format!("DEBUG docxy_client: answered from here content={what}\n");
        let log =
            [answered("a"), came("a", 7), came("b", 5), answered("a"), answered("a"), came("a", 7)].concat();
        let usage = PrefetchUsage::of(&log);
        let unused = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(usage, PrefetchUsage { items: 3, bytes: 19, unused, unused_bytes: 12 });
    }
}
