//! What came ahead of its request, and what of that an engine asked for, as the client's log tells.
//! Must never count as asked for what was asked for before it came.

use std::collections::BTreeMap;

use serde::Serialize;

/// Items and bytes that came ahead.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Gain {
    pub(super) items: usize,
    pub(super) bytes: u64,
    /// Those that nobody asked for until the end, or until they came once more.
    pub(super) in_vain: Vec<String>,
    pub(super) bytes_in_vain: u64,
}

impl Gain {
    /// From a log at the level `debug`.
    pub(super) fn of(log: &str) -> Self {
        let mut gain = Self::default();
        // What lies there and hasn't been asked for yet.
        let mut waiting: BTreeMap<&str, u64> = BTreeMap::new();
        for line in log.lines() {
            let Some(content) = field(line, "content=") else { continue };
            if line.contains("came ahead") {
                let bytes = field(line, "bytes=").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
                gain.items += 1;
                gain.bytes += bytes;
                if let Some(bytes) = waiting.insert(content, bytes) {
                    gain.add_in_vain(content, bytes);
                }
            } else if line.contains("answered from here") {
                waiting.remove(content);
            }
        }
        for (content, bytes) in waiting {
            gain.add_in_vain(content, bytes);
        }
        gain
    }

    fn add_in_vain(&mut self, content: &str, bytes: u64) {
        self.in_vain.push(content.to_owned());
        self.bytes_in_vain += bytes;
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_came_once_in_vain() {
        let came = |what, bytes| format!("DEBUG docxy_client: came ahead content={what} bytes={bytes}\n");
        let answered = |what| format!("DEBUG docxy_client: answered from here content={what}\n");
        let log =
            [answered("a"), came("a", 7), came("b", 5), answered("a"), answered("a"), came("a", 7)].concat();
        let gain = Gain::of(&log);
        let in_vain = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(gain, Gain { items: 3, bytes: 19, in_vain, bytes_in_vain: 12 });
    }
}
