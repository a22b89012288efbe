//! The findings as text for people, and as JSON for programs.
//!
//! Must never look at anything.

use super::{Check, Finding, Subject, Verdict};
use serde::Serialize;
use serde_json::{Value, json};

/// The columns before the text of a finding.
const INDENT: usize = 28;

/// One finding as JSON.
#[derive(Serialize)]
struct Row<'a> {
    hop: Check,
    server: Option<&'a str>,
    engine: Option<&'a str>,
    verdict: &'static str,
    detail: &'a str,
    remedy: Option<&'a str>,
}

/// The lines of a finding, with the server or the machine before its first one.
#[must_use]
pub fn lines(finding: &Finding, before: Option<&Finding>) -> String {
    let heading = |finding: &Finding| match &finding.subject {
        Subject::Server(server) => server.clone(),
        Subject::Machine | Subject::Engine(_) => "this machine".to_owned(),
    };
    let mut text = String::new();
    if before.map(heading) != Some(heading(finding)) {
        text = format!("{}\n", heading(finding));
    }
    let name = match finding.subject {
        Subject::Engine(engine) => engine,
        _ => name(finding.check),
    };
    let word = match &finding.verdict {
        Verdict::Ok(_) => "ok",
        Verdict::Fault { .. } => "FAULT",
        Verdict::Unknown(_) => "unknown",
        Verdict::NotTried(_) => "not tried",
    };
    text += &format!("  {name:<14}  {word:<10}{}\n", detail(&finding.verdict));
    if let Some(remedy) = remedy(&finding.verdict) {
        text += &format!("{:INDENT$}to mend it: {remedy}\n", "");
    }
    text
}

/// All findings as one document.
#[must_use]
pub fn json(findings: &[Finding]) -> Value {
    let row = |finding: &Finding| {
        let (server, engine) = match &finding.subject {
            Subject::Machine => (None, None),
            Subject::Server(server) => (Some(server.as_str()), None),
            Subject::Engine(engine) => (None, Some(*engine)),
        };
        let verdict = match finding.verdict {
            Verdict::Ok(_) => "ok",
            Verdict::Fault { .. } => "fault",
            Verdict::Unknown(_) => "unknown",
            Verdict::NotTried(_) => "not_tried",
        };
        let (detail, remedy) = (detail(&finding.verdict), remedy(&finding.verdict));
        json!(Row { hop: finding.check, server, engine, verdict, detail, remedy })
    };
    let ok = !findings.iter().any(|finding| finding.verdict.is_fault());
    json!({ "ok": ok, "hops": findings.iter().map(row).collect::<Vec<_>>() })
}

const fn name(check: Check) -> &'static str {
    match check {
        Check::Links => "links",
        Check::Checksum => "checksum",
        Check::Name => "name",
        Check::Udp => "UDP",
        Check::Tcp => "TCP",
        Check::Pin => "pin",
        Check::Hello => "Hello",
        Check::Clock => "clock",
        Check::Up => "64 KiB up",
        Check::Down => "64 KiB down",
        Check::Registry => "registry",
        Check::TokenService => "token service",
        Check::Quota => "quota",
        Check::Cdn => "CDN",
        Check::LocalClient => "local client",
        Check::Engine => "engines",
    }
}

fn detail(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Ok(text) | Verdict::Unknown(text) | Verdict::NotTried(text) => text,
        Verdict::Fault { what, .. } => what,
    }
}

fn remedy(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Fault { remedy, .. } => Some(remedy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_rendered_as_text_and_as_json() {
        let server = || Subject::Server("a.example:1".into());
        let finding = |check, subject, verdict| Finding { check, subject, verdict };
        let all = [
            finding(Check::Links, Subject::Machine, Verdict::Ok("a.example:1".into())),
            finding(Check::Udp, server(), Verdict::fault("no response", "open it")),
            finding(Check::Clock, server(), Verdict::not_tried("no session")),
            finding(Check::Engine, Subject::Engine("docker"), Verdict::Unknown("who knows".into())),
        ];
        let text: String = all
            .iter()
            .enumerate()
            .map(|(n, finding)| lines(finding, n.checked_sub(1).map(|n| &all[n])))
            .collect();
        assert_eq!(
            text,
            "\
this machine
  links           ok        a.example:1
a.example:1
  UDP             FAULT     no response
                            to mend it: open it
  clock           not tried no session
this machine
  docker          unknown   who knows
"
        );
        let document = json(&all);
        assert_eq!(document["ok"], false);
        let udp = json!({
            "hop": "udp", "server": "a.example:1", "engine": null, "verdict": "fault", "detail": "no response",
            "remedy": "open it"
        });
        assert_eq!(document["hops"][1], udp);
        assert_eq!(
            (&document["hops"][3]["engine"], &document["hops"][3]["verdict"]),
            (&json!("docker"), &json!("unknown"))
        );
    }
}
