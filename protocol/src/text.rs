//! Text from a peer or a registry that people will read: in a log, on `/health`, in an engine's error, on a
//! terminal.
//!
//! Must never let control characters through, nor more than a few lines. Each such text is cleaned here
//! before it is displayed.

use derive_more::{Display, Into};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt::{self, Write as _};

/// Characters of a displayed text, at most, unless its type has a lower maximum.
pub const TEXT_CHARS_MAX: usize = 1000;

/// Replaces the end of a text that is too long.
const ELLIPSIS: char = '…';

/// A text of at most `MAX` characters without control characters: no line breaks, escape sequences, changes
/// of direction or invisible characters. A space replaces those that separated two words.
///
/// Decoding cleans too, so a text from a peer is always clean. On the wire it is a string.
#[derive(
    Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Display, derive_more::Debug, Into, Serialize,
)]
#[debug("{_0:?}")]
#[serde(transparent)]
pub struct CleanText<const MAX: usize = TEXT_CHARS_MAX>(String);

/// Cleans a text for a log line or an error.
#[must_use]
pub fn clean(text: impl fmt::Display) -> CleanText {
    CleanText::new(text)
}

/// The start of a refused text, for an error.
#[must_use]
pub fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

impl<const MAX: usize> CleanText<MAX> {
    /// Cleans a text. It stops formatting at `MAX` characters, so an endless text costs no more than a long
    /// one.
    #[must_use]
    pub fn new(text: impl fmt::Display) -> Self {
        let mut cleaner = Cleaner { clean: String::new(), count: 0, max: MAX, gap: false };
        // Fails if the text is too long; it was cut then.
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

impl<'de, const MAX: usize> Deserialize<'de> for CleanText<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(String::deserialize(deserializer)?))
    }
}

/// Cleans the text written to it, and fails after `max` characters.
struct Cleaner {
    clean: String,
    /// Characters in `clean`.
    count: usize,
    max: usize,
    /// Whether a character was removed since the last one.
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
            if !is_printable(c) {
                self.gap = true;
                continue;
            }
            // Only if it separates two words.
            let separated = c == ' ' || self.clean.is_empty() || self.clean.ends_with(' ');
            if std::mem::take(&mut self.gap) && !separated {
                self.push(' ')?;
            }
            self.push(c)?;
        }
        Ok(())
    }
}

/// Whether a character is visible and has no other effect. The joiners (U+200C, U+200D) stay: Persian and
/// Hindi need them.
fn is_printable(c: char) -> bool {
    // C0, DEL and C1.
    let has_effect = c.is_control()
        || matches!(c,
            // Line and paragraph separator.
            '\u{2028}' | '\u{2029}'
            // Change of the direction of the text that follows.
            | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Invisible characters.
            | '\u{00ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
            | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180d}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0100}'..='\u{e01ef}');
    !has_effect
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_characters_become_spaces() {
        for (text, expected) in [
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
            assert_eq!(clean(text).as_str(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_ends_with_an_ellipsis() {
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
    fn an_endless_text_is_cut() {
        assert_eq!(clean(Endless).as_str().chars().count(), TEXT_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn any_text_becomes_clean(text in any::<String>()) {
            let cleaned = CleanText::<20>::new(&text);
            prop_assert!(cleaned.as_str().chars().count() <= 20);
            prop_assert!(cleaned.as_str().chars().all(is_printable));
            prop_assert_eq!(CleanText::<20>::new(&cleaned), cleaned);
        }
    }
}
