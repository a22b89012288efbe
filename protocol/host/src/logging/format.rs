//! How a line looks: for people, or as JSON for programs.
//!
//! What a line is about comes first, and where in the program it was written only with `debug` and `trace`.

use super::timestamp::{clock, timestamp};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Lines of modules with this name are sentences that say everything. Their fields are for programs, except the trace id:
/// where lines are kept, it leads to those of the other side.
const SENTENCES: &str = "::pulls";

/// Columns of such a line on a terminal, after the time and the level. With these it has 100.
const SENTENCE_COLUMNS: usize = 85;

/// The least of an image's name that is shown.
const IMAGE_COLUMNS_MIN: usize = 15;

/// The format of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, derive_more::Display, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// For people.
    #[default]
    #[display("text")]
    Text,
    /// One JSON object on each line.
    #[display("json")]
    Json,
}

/// The text names no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log format is text or json")]
pub struct LogFormatError;

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        [Self::Text, Self::Json].into_iter().find(|format| format.to_string() == text).ok_or(LogFormatError)
    }
}

impl TryFrom<String> for LogFormat {
    type Error = LogFormatError;

    fn try_from(text: String) -> Result<Self, LogFormatError> {
        text.parse()
    }
}

/// Writes lines for people: the time, the level, the message, its fields, and those of the spans around it.
pub(super) struct TextLine {
    /// On a terminal, the time of the day is enough.
    pub(super) is_terminal: bool,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let time = if self.is_terminal { clock() } else { timestamp() };
        let colour = if writer.has_ansi_escapes() { colour(*metadata.level()) } else { None };
        match colour {
            Some(colour) => {
                write!(writer, "\x1b[2m{time}\x1b[0m \x1b[{colour}m{:>5}\x1b[0m ", metadata.level())?
            }
            None => write!(writer, "{time} {:>5} ", metadata.level())?,
        }
        if metadata.target().ends_with(SENTENCES) {
            let mut sentence = Sentence::default();
            event.record(&mut sentence);
            if self.is_terminal {
                return writeln!(writer, "{}", sentence.fitted());
            }
            write!(writer, "{}", sentence.message)?;
            if !sentence.message.contains(&sentence.trace_id) {
                write!(writer, " trace_id={}", sentence.trace_id)?;
            }
            return writeln!(writer);
        }
        if *metadata.level() >= Level::DEBUG {
            write!(writer, "{}: ", metadata.target())?;
        }
        context.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

/// The colour of a level, as a terminal is told (ECMA-48, SGR).
const fn colour(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => Some(31),
        Level::WARN => Some(33),
        Level::INFO => Some(32),
        _ => Some(34),
    }
}

/// The message of an event, and the fields that matter for its line.
#[derive(Default)]
struct Sentence {
    message: String,
    trace_id: String,
    image: String,
}

impl Sentence {
    /// The message, with as much of the image's name, from its end, as there is room for.
    fn fitted(&self) -> String {
        let Self { message, image, .. } = self;
        let (columns, excess) =
            (image.chars().count(), message.chars().count().saturating_sub(SENTENCE_COLUMNS));
        let left = columns.saturating_sub(excess).max(IMAGE_COLUMNS_MIN);
        if excess == 0 || left >= columns {
            return message.clone();
        }
        // Three of them are dots.
        let end: String = image.chars().skip(columns - left + 3).collect();
        // Whole parts of the name, if one fits.
        let end = end.find('/').map_or(&*end, |slash| &end[slash..]);
        message.replacen(image, &format!("...{end}"), 1)
    }
}

impl Visit for Sentence {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "image" {
            value.clone_into(&mut self.image);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "trace_id" => self.trace_id = format!("{value:?}"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_fits_on_a_terminal() {
        let fitted = |image: &str, rest: &str| {
            let message = format!("pulled {image}{rest}");
            Sentence { message, image: image.to_owned(), ..Sentence::default() }.fitted()
        };
        let rest = " in 12.3 s: 12.0 MiB at 3.50 MiB/s, 1.00 MiB cached, 2 resumes";
        let line = fitted("docker.io/library/alpine:3.20", rest);
        assert_eq!(line, format!("pulled .../alpine:3.20{rest}"));
        assert!(line.len() <= SENTENCE_COLUMNS);
        assert_eq!(fitted("docker.io/library/a:1", " in 1.0 s"), "pulled docker.io/library/a:1 in 1.0 s");
        let long = fitted(&format!("ghcr.io/{}:1", "n".repeat(80)), " in 1.0 s");
        assert_eq!(long.len(), SENTENCE_COLUMNS);
        assert!(fitted("docker.io/library/app:1", &"x".repeat(90)).starts_with("pulled .../app:1x"));
    }

    #[test]
    fn a_format_has_its_name() {
        for (text, expected) in
            [("text", Ok(LogFormat::Text)), ("json", Ok(LogFormat::Json)), ("xml", Err(LogFormatError))]
        {
            assert_eq!(text.parse(), expected);
        }
    }
}
