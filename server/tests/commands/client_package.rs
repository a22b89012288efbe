//! `client-package`: the client's package comes out as it is beside the installed program.

use crate::machine::{stderr, text};
use std::process::{Command, Stdio};

#[test]
fn the_client_s_package_is_written_as_it_is_below_the_prefix_of_the_program() {
    // On the file system of the program, for the hard link.
    let prefix = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let (bin, share) = (prefix.path().join("bin"), prefix.path().join("share/docxy-server"));
    for directory in [&bin, &share] {
        std::fs::create_dir_all(directory).expect("a directory");
    }
    let program = bin.join("docxy-server");
    std::fs::hard_link(env!("CARGO_BIN_EXE_docxy-server"), &program).expect("a hard link");
    let run = |format: &str| {
        let mut command = Command::new(&program);
        command.arg("client-package").args(format.split_whitespace()).env_clear().stdin(Stdio::null());
        command.output().expect("the program starts")
    };

    let missing = run("deb");
    assert_eq!((missing.status.code(), text(&missing.stdout)), (Some(1), String::new()));
    assert!(stderr(&missing).contains("share/docxy-server/docxy-client.deb"), "{}", stderr(&missing));

    // Not UTF-8, as a package.
    for (format, name) in [("", "deb"), ("deb", "deb"), ("rpm", "rpm"), ("tar", "tar.gz")] {
        let content = [name.as_bytes(), b"\0\xff\r\n"].concat();
        std::fs::write(share.join(format!("docxy-client.{name}")), &content).expect("a package");
        let output = run(format);
        assert_eq!((output.status.code(), output.stdout), (Some(0), content), "{format}");
    }
    assert_eq!(run("zip").status.code(), Some(2));
}
