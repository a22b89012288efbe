//! Reads one field line of challenges, item by item.
//!
//! Must never fail: what cannot be read is skipped. Which challenge a parameter belongs to is decided above.

use crate::fields::{is_token_byte, quoted_string};

/// The unread part of a field line.
pub(super) struct Line<'a> {
    rest: &'a [u8],
    /// Whether a comma, or the start of the line, precedes it.
    after_comma: bool,
}

/// What follows in a line.
pub(super) enum Item {
    /// The scheme of a new challenge. It is `alone` if neither a parameter nor a `token68` follows.
    Scheme { name: String, alone: bool },
    /// A parameter. It has no value if that cannot be read.
    Parameter { name: String, value: Option<String> },
}

impl<'a> Line<'a> {
    pub(super) const fn new(line: &'a [u8]) -> Self {
        Self { rest: line, after_comma: true }
    }

    pub(super) fn next_item(&mut self) -> Option<Item> {
        loop {
            let word = self.next_word()?;
            let separated = std::mem::take(&mut self.after_comma);
            if self.skip_equals_sign() {
                let name = word.to_ascii_lowercase();
                return Some(Item::Parameter { name, value: self.value() });
            }
            let alone = self.rest.first().is_none_or(|byte| *byte == b',');
            // Without a comma, only a word with a parameter after it can be a scheme. Others are `token68`, or stray.
            if separated || self.is_before_parameter() {
                return Some(Item::Scheme { name: word, alone });
            }
        }
    }

    /// The next `token` (RFC 9110, section 5.6.2), after commas, whitespace, stray bytes and stray quoted strings.
    fn next_word(&mut self) -> Option<String> {
        while let Some((byte, rest)) = self.rest.split_first().filter(|(byte, _)| !is_token_byte(**byte)) {
            self.rest = rest;
            match byte {
                b',' => self.after_comma = true,
                b'"' => drop(self.quoted()),
                _ => {}
            }
        }
        let length = self.rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest.trim_ascii_start();
        (!word.is_empty()).then(|| text_of(word))
    }

    fn skip_equals_sign(&mut self) -> bool {
        let Some(rest) = self.rest.strip_prefix(b"=") else { return false };
        self.rest = rest;
        true
    }

    /// Whether a word and an equals sign follow.
    fn is_before_parameter(&self) -> bool {
        let mut ahead = Line { rest: self.rest, after_comma: false };
        self.rest.first().is_some_and(|byte| is_token_byte(*byte))
            && ahead.next_word().is_some()
            && ahead.skip_equals_sign()
    }

    /// The value of a parameter: a `quoted-string`, or all bytes up to the next whitespace or comma, which may be
    /// none.
    fn value(&mut self) -> Option<String> {
        let gap = self.rest.first().is_some_and(u8::is_ascii_whitespace);
        self.rest = self.rest.trim_ascii_start();
        if let Some(rest) = self.rest.strip_prefix(b"\"") {
            self.rest = rest;
            return self.quoted();
        }
        if gap && self.is_before_parameter() {
            return Some(String::new());
        }
        let length = self.rest.iter().position(|byte| b" \t,".contains(byte)).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(length);
        self.rest = rest;
        checked(value)
    }

    /// The rest of a `quoted-string` (RFC 9110, section 5.6.4). `None` if it has no end.
    fn quoted(&mut self) -> Option<String> {
        let (value, rest) = quoted_string(self.rest).unzip();
        self.rest = rest.unwrap_or_default();
        checked(&value?)
    }
}

/// The text of a value. A tab is the only control character allowed.
fn checked(value: &[u8]) -> Option<String> {
    let text = text_of(value);
    (!text.contains(|c: char| c.is_control() && c != '\t')).then_some(text)
}

/// UTF-8, or else ISO 8859-1 (RFC 9110, section 5.5).
fn text_of(bytes: &[u8]) -> String {
    let latin_1 = || bytes.iter().map(|byte| char::from(*byte)).collect();
    std::str::from_utf8(bytes).map_or_else(|_| latin_1(), str::to_owned)
}
