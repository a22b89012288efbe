//! What the very first `run` does beside serving: a client, so that there is a link to paste.
//!
//! Shows the link on a terminal or in a file of the owner's, never in the log. A terminal that takes
//! nothing must not keep the server from serving.

use super::CommandError;
use super::invite::new_client;
use crate::address;
use crate::settings::Settings;
use crate::state::{State, file};
use docxy_protocol::link::ClientName;
use std::io;

/// The first client's name, and with `.link` behind it the file for its link.
const NAME: &str = "default";

/// Shows a text on a terminal, or fails within a second or so.
type Show<'a> = &'a dyn Fn(&str) -> io::Result<()>;

/// Invites the first client, if nobody was ever invited and the server's address is known.
/// `terminal` is where a person reads, if one does.
pub(super) fn first_start(
    settings: &Settings,
    state: &State,
    terminal: Option<Show<'_>>,
) -> Result<(), CommandError> {
    if state.has_clients() {
        return Ok(());
    }
    let address = match address::for_links(settings.public.as_ref(), &settings.listen) {
        Ok(address) => address,
        Err(error) => {
            tracing::warn!(
                "nobody can connect yet, since it is not known which address clients are to dial: \
                 run `docxy-server invite NAME --public HOST:PORT`"
            );
            tracing::debug!("no address for links: {error}");
            return Ok(());
        }
    };
    let name: ClientName = NAME.parse().expect("the name is one");
    let link = new_client(state, &name, address)?.expose();
    let shown = terminal.is_some_and(|show| {
        let shown = show(&format!(
            "\nThe link of the first client, \"{name}\". It is a secret and is shown only now.\n\
             On the machine that is to pull, run `docxy-client join` and paste it:\n\n{link}\n\n"
        ));
        shown.inspect_err(|error| tracing::warn!(%error, "the terminal does not take the first link")).is_ok()
    });
    if !shown {
        let path = state.path(&format!("{NAME}.link"));
        file::write(&path, format!("{link}\n").as_bytes())?;
        tracing::info!(
            "the link of the first client, \"{name}\", is in {}: it is a secret, for \
             `docxy-client join` on the machine that is to pull",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RegistrySettings;
    use docxy_protocol::link::Link;
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt as _;

    /// Starts a server for the first time and gives what the terminal shows.
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
        let settings = Settings {
            listen: vec![listen.parse().unwrap()],
            state: dir.path().to_owned(),
            stale: false,
            public: Some("vpn.example.org".parse().unwrap()),
            fixed_rate_limit: "1 Gbit/s".parse().unwrap(),
            registries: vec![RegistrySettings::docker_hub()],
            resolve: [].into(),
            log: "info".parse().unwrap(),
        };
        let state = State::open(dir.path()).unwrap();
        first_start(&settings, &state, terminal).unwrap();
        state
    }

    fn is_accepted(state: &State, link: &str) -> bool {
        let link: Link = link.parse().unwrap();
        assert_eq!(link.ports, [61443]);
        let book = state.clients().unwrap();
        book.authenticate(&link.name, &link.secret).is_ok()
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
        assert!(is_accepted(&state, &std::fs::read_to_string(path).unwrap()));
    }

    #[test]
    fn a_terminal_that_takes_nothing_leaves_the_first_link_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let gone = |_: &str| Err(io::Error::from_raw_os_error(5));
        let state = start_with(&dir, "[::]:61443", Some(&gone));
        assert!(is_accepted(&state, &std::fs::read_to_string(state.path("default.link")).unwrap()));
    }

    #[test]
    fn without_a_port_for_the_link_nobody_is_invited() {
        let dir = tempfile::tempdir().unwrap();
        let (state, screen) = start(&dir, "[::]:0", true);
        assert_eq!(screen, "");
        assert!(!state.has_clients());
    }
}
