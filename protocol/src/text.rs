//! Text of somebody else's that people will read: in a log, on `/health`, in an engine's error, on a
//! terminal.
//!
//! Must never let through what a terminal or a log acts on instead of showing it, nor more than fits into
//! a few lines. Every text that a peer or a registry sends is cleaned here before it is shown.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt::{self, Write as _};

/// Most characters of a text that is shown, unless its type says less.
pub const TEXT_CHARS_MAX: usize = 1000;

/// Stands for what was cut off.
const ELLIPSIS: char = '…';

/// A text of at max `MAX` characters, none of which is a control character: a line break, an escape
/// sequence, a change of direction, or one that nobody sees. A space stands where one of those kept two
/// words apart.
///
/// Decoding cleans as well, so the type holds whatever a peer sends. On the wire it is a string.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct CleanText<const MAX: usize = TEXT_CHARS_MAX>(String);

/// A text that can be shown in a log line or an error.
#[must_use]
pub fn clean(text: impl fmt::Display) -> CleanText {
    CleanText::new(text)
}

impl<const MAX: usize> CleanText<MAX> {
    /// What is left of a text. One that never ends costs no more than one that is too long.
    #[must_use]
    pub fn new(text: impl fmt::Display) -> Self {
        let mut cleaner = Cleaner { clean: String::new(), count: 0, max: MAX, gap: false };
        // It fails where the text is too long, and has been cut then.
        let _ = write!(cleaner, "{text}");
        Self(cleaner.clean)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> From<&str> for CleanText<MAX> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<const MAX: usize> From<CleanText<MAX>> for String {
    fn from(text: CleanText<MAX>) -> Self {
        text.0
    }
}

impl<const MAX: usize> fmt::Display for CleanText<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for CleanText<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for CleanText<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(String::deserialize(deserializer)?))
    }
}

/// Cleans what is written to it, and refuses more than it may take.
struct Cleaner {
    clean: String,
    /// Characters in it.
    count: usize,
    max: usize,
    /// Whether something was left out since the last character.
    gap: bool,
}

impl Cleaner {
    fn push(&mut self, c: char) -> fmt::Result {
        if self.count == self.max {
            if self.clean.pop().is_some() {
                self.clean.push(ELLIPSIS);
            }
            return Err(fmt::Error);
        }
        self.clean.push(c);
        self.count += 1;
        Ok(())
    }
}

impl fmt::Write for Cleaner {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if !is_shown(c) {
                self.gap = true;
                continue;
            }
            // Only where it keeps two words apart.
            let apart = c == ' ' || self.clean.is_empty() || self.clean.ends_with(' ');
            if std::mem::take(&mut self.gap) && !apart {
                self.push(' ')?;
            }
            self.push(c)?;
        }
        Ok(())
    }
}

/// Whether a character shows itself and nothing else. The joiners stay (U+200C, U+200D): Persian and
/// Hindi are written with them.
fn is_shown(c: char) -> bool {
    // C0, DEL and C1.
    let acts = c.is_control()
        || matches!(c,
            // Line and paragraph separator.
            '\u{2028}' | '\u{2029}'
            // What changes the direction of the text that follows.
            | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // What nobody sees.
            | '\u{00ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !acts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_acts_on_becomes_a_space() {
        for (text, shown) in [
            ("down since 10:00", "down since 10:00"),
            ("a\r\n2026-12-01 INFO forged", "a 2026-12-01 INFO forged"),
            ("\u{1b}[31mred\u{1b}[0m", "[31mred [0m"),
            ("title\u{1b}]0;x\u{7}end", "title ]0;x end"),
            ("\u{9b}2J", "2J"),
            ("del\u{7f}ete", "del ete"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a b c d"),
            ("abc\u{202e}fed", "abc fed"),
            ("\u{2066}x\u{2069}", "x"),
            ("in\u{200b}vi\u{feff}si\u{e0041}ble", "in vi si ble"),
            ("tab\tand\0nul", "tab and nul"),
            ("one \r\n two", "one  two"),
            ("\n\n", ""),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ] {
            assert_eq!(clean(text).as_str(), shown, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(CleanText::<4>::new("abcd").as_str(), "abcd");
        assert_eq!(CleanText::<4>::new("abcde").as_str(), "abc…");
        assert_eq!(CleanText::<4>::new("abcd\n").as_str(), "abcd");
        assert_eq!(CleanText::<4>::new("abc\nd").as_str(), "abc…");
        assert_eq!(CleanText::<0>::new("abcd").as_str(), "");
        let long = clean("ü".repeat(1 << 20));
        assert_eq!(
            (long.as_str().chars().count(), long.as_str().chars().last()),
            (TEXT_CHARS_MAX, Some(ELLIPSIS))
        );
    }

    /// A `Display` that would fill the memory.
    struct Endless;

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("again and ")?;
            }
        }
    }

    #[test]
    fn a_text_without_an_end_costs_no_more_than_a_long_one() {
        assert_eq!(clean(Endless).as_str().chars().count(), TEXT_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_what_comes_out_can_be_shown(text in any::<String>()) {
            let shown = CleanText::<20>::new(&text);
            prop_assert!(shown.as_str().chars().count() <= 20);
            prop_assert!(shown.as_str().chars().all(is_shown));
            prop_assert_eq!(CleanText::<20>::new(&shown), shown);
        }
    }
}
