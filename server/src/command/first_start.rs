//! The first `run` invites a client, so that the operator has a link.
//!
//! Must never write the link to the log: it goes to a terminal, or to a private file. A terminal that blocks
//! must never keep the server from serving.

use super::error::CommandError;
use crate::access::{add_client, new_link};
use crate::address;
use crate::settings::CommonSettings;
use crate::state::State;
use docxy_host::files::private_file::{self, FileError};
use docxy_protocol::link::ClientName;
use std::fs;
use std::io;

/// The first client's name. The file for its link is `NAME.link`.
const FIRST_CLIENT_NAME: &str = "default";

/// Shows a text on a terminal, or fails within about a second.
type Show<'a> = &'a dyn Fn(&str) -> io::Result<()>;

/// Invites the first client, if no client was ever invited and the public address is known. `terminal` is
/// the terminal that a person reads, if there is one.
pub(super) fn first_start(
    settings: &CommonSettings,
    state: &State,
    terminal: Option<Show<'_>>,
) -> Result<(), CommandError> {
    if !state.clients()?.is_empty() {
        return Ok(());
    }
    if let Some(file) = state.shared_clients() {
        tracing::warn!(file = %file.display(), "no client can connect yet: run `docxy-server invite NAME` with this --clients-file");
        return Ok(());
    }
    let address = match address::for_links(settings.public.as_ref(), &settings.listen) {
        Ok(address) => address,
        Err(error) => {
            tracing::warn!(
                "no client can connect yet, because the public address is not known: \
                 run `docxy-server invite NAME --public HOST:PORT`"
            );
            tracing::debug!("no address for links: {error}");
            return Ok(());
        }
    };
    let name: ClientName = FIRST_CLIENT_NAME.parse().expect("the name is one");
    let link = new_link(state, &name, address)?;
    let text = link.expose_with_sum();
    // Before the client, which is of no use without it: the disk may be full after each step.
    let path = state.path(&format!("{FIRST_CLIENT_NAME}.link"));
    private_file::write(&path, format!("{text}\n").as_bytes())?;
    if let Err(error) = add_client(state, &link) {
        let _ = fs::remove_file(path);
        return Err(error.into());
    }
    let shown = terminal.is_some_and(|show| {
        let shown = show(&format!(
            "\nThe link of the first client, \"{name}\". It is a secret and is shown only now.\n\
             On the machine that pulls, run `docxy-client join` and paste it:\n\n{text}\n\n"
        ));
        shown
            .inspect_err(|error| tracing::warn!(%error, "the terminal does not accept the first link"))
            .is_ok()
    });
    if shown {
        return Ok(fs::remove_file(&path).map_err(|source| FileError::Write { path, source })?);
    }
    tracing::info!(
        file = %path.display(),
        "the first client's link is in this file: it is a secret, for `docxy-client join` on the machine that pulls"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::link::Link;
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt as _;

    /// Starts a server for the first time. Returns the text on the terminal.
    fn start(dir: &tempfile::TempDir, listen: &str, has_terminal: bool) -> (State, String) {
        let screen = RefCell::new(String::new());
        let show = |text: &str| {
            *screen.borrow_mut() += text;
            Ok(())
        };
        let state = start_with(dir, listen, has_terminal.then_some(&show));
        (state, screen.into_inner())
    }

    fn start_with(dir: &tempfile::TempDir, listen: &str, terminal: Option<Show<'_>>) -> State {
        let settings = CommonSettings {
            listen: vec![listen.parse().unwrap()],
            state: dir.path().to_owned(),
            clients_file: None,
            public: Some("vpn.example.org".parse().unwrap()),
        };
        let state = State::open(dir.path()).unwrap();
        first_start(&settings, &state, terminal).unwrap();
        state
    }

    fn is_accepted(state: &State, link: &str) -> bool {
        let link: Link = link.parse().unwrap();
        assert_eq!(link.ports, [61443]);
        let list = state.clients().unwrap();
        list.authenticate(&link.name, &link.secret).is_ok()
    }

    #[test]
    fn on_a_terminal_the_first_link_is_shown_once() {
        let dir = tempfile::tempdir().unwrap();
        let (state, screen) = start(&dir, "[::]:61443", true);
        assert!(screen.contains("docxy-client join"));
        let link = screen.lines().find(|line| line.starts_with("docxy://"));
        assert!(is_accepted(&state, link.unwrap()));
        assert!(!state.path("default.link").exists());

        let (_, screen) = start(&dir, "[::]:61443", true);
        assert_eq!(screen, "");
    }

    #[test]
    fn without_a_terminal_the_first_link_is_in_a_file_of_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = start(&dir, "[::]:61443", false);
        let path = state.path("default.link");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(is_accepted(&state, &fs::read_to_string(path).unwrap()));
    }

    #[test]
    fn with_a_blocked_terminal_the_first_link_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let gone = |_: &str| Err(io::Error::from_raw_os_error(5));
        let state = start_with(&dir, "[::]:61443", Some(&gone));
        assert!(is_accepted(&state, &fs::read_to_string(state.path("default.link")).unwrap()));
    }

    #[test]
    fn without_a_port_for_the_link_no_client_is_invited() {
        let dir = tempfile::tempdir().unwrap();
        let (state, screen) = start(&dir, "[::]:0", true);
        assert_eq!(screen, "");
        assert!(state.clients().unwrap().is_empty());
    }
}
