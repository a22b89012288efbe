//! What is written on stdout and does not arrive: the command fails.

use std::{
    fs::{self, File},
    process::Command,
};

use docxy_tests::process::{Finished, PROCESS_TIMEOUT, binary, run, scratch};
use tokio::task::block_in_place;

use crate::support::testbed::{Testbed, config, hub, invite, server};

/// Runs a command with this redirection of the shell.
fn redirected(command: &Command, redirection: &str) -> Finished {
    let mut shell = Command::new("sh");
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.args(["-c", &format!(r#"exec "$0" "$@" {redirection}"#)]);
    shell.arg(command.get_program()).args(command.get_args());
    block_in_place(|| run(shell, PROCESS_TIMEOUT)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_arrive_on_stdout_is_an_error() {
    let (testbed, folder) = (Testbed::new().await, scratch().unwrap());
    let link = fs::read_to_string(testbed.client.link_file()).unwrap();
    let mut pull = Command::new(binary("docxy-client").unwrap());
    pull.args(["pull", "library/hello", "--platform", "linux/amd64", "-o", "-"]).env("DOCXY_LINK", &link);
    pull.env("RUNTIME_DIRECTORY", folder.path()).env("DOCXY_CACHE", folder.path().join("cache"));
    let path = folder.path().join("image.tar");
    let image = format!(">{}", path.display());
    for redirection in [&*image, ">/dev/null"] {
        redirected(&pull, redirection).succeeded().unwrap();
    }
    let archive = File::open(&path).unwrap();
    assert!(archive.metadata().unwrap().len() > 0);
    for redirection in [">&-", ">/dev/full", "<&- >&-"] {
        let finished = redirected(&pull, redirection);
        assert_eq!(finished.status.code(), Some(1), "{redirection}: {}", finished.stderr);
        assert!(finished.refused().unwrap().contains("stdout"), "{redirection}");
    }
    // The reader of the pipe is gone.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = block_in_place(|| {
        pull.stdout(writer);
        pull.env_remove("PATH").status()
    });
    assert_eq!(ended.unwrap().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_would_be_lost_is_not_made() {
    let hub = hub().await;
    let mut server = server(&config(&hub));
    invite(&mut server, "first");
    let mut command = Command::new(binary("docxy-server").unwrap());
    command.args(["invite", "second", "--state"]).arg(server.state());
    command.arg("--config").arg(server.config_file());
    redirected(&command, ">&-").refused().unwrap();
    let clients = block_in_place(|| server.command(&["clients"])).unwrap();
    assert!(clients.contains("first") && !clients.contains("second"), "{clients}");
}
