//! `docxy-client pull`: fetches images through the tunnel of a running client, or one of its own.

use super::arguments::PullArguments;
use super::error::CommandError;
use super::login;
use crate::accounts::logins::Logins;
use crate::images::pull::{
    self, Connection, Destination, DestinationError, Progress, PullError, PullRequest, default_name,
};
use crate::local_api;
use crate::settings::{ConnectionSettings, Flags, GivenSettings};
use docxy_host::logging;
use docxy_host::process::signals::shutdown::Shutdown;
use docxy_host::process::terminal::print;
use docxy_protocol::authorization::Login;
use docxy_protocol::image_name::ImageName;
use docxy_protocol::secret::Secret;
use http::StatusCode;
use std::path::PathBuf;
use std::time::Duration;
use tracing::Level;

/// The variable with the password of `--creds`.
const PASSWORD_VARIABLE: &str = "DOCXY_PASSWORD";

pub(super) fn pull(arguments: PullArguments, flags: Flags) -> Result<(), CommandError> {
    let PullArguments { images, output, platform, force, creds, quiet, connection, log } = arguments;
    let paths = paths(&images, output, |image| default_name(image, platform.as_ref()))?;
    let destinations: Vec<_> =
        paths.into_iter().map(|path| Destination::new(path, force)).collect::<Result<_, _>>()?;
    let login = creds.map(|user| account(&images, user)).transpose()?;
    let request = |(image, destination)| PullRequest {
        image,
        platform: platform.clone(),
        login: login.clone(),
        destination,
    };
    let requests = images.into_iter().zip(destinations).map(request).collect();
    // Users read the progress.
    let flags = Flags { connection, log, ..flags };
    let ConnectionSettings { tunnel: config, blobs, logins, log, .. } =
        ConnectionSettings::load(&flags, Level::ERROR)?;
    let logging = logging::start(&log);
    let progress = if quiet { Progress::quiet() } else { Progress::on_stderr(logging.handle()) };
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Start)?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::of_command().map_err(CommandError::Start)?;
        let given = GivenSettings::of(&flags, &config);
        let connection = tokio::select! {
            found = Connection::find(local_api::socket_candidates(), given, config) => found?.keeping(blobs, Duration::ZERO),
            () = shutdown.drain.cancelled() => return Err(CommandError::Interrupted),
        };
        progress.print(&format!("connecting through {}", connection.description()));
        let logins = Logins::open(logins);
        let outcome = tokio::select! {
            outcome = pull_all(requests, &logins, &connection, &progress) => outcome,
            () = shutdown.drain.cancelled() => Err(CommandError::Interrupted),
            never = connection.tell_failures(|text| progress.print(text)) => match never {},
        };
        connection.close().await;
        outcome
    });
    drop(progress);
    outcome
}

/// Pulls one after the other, since one uses the whole path.
async fn pull_all(
    requests: Vec<PullRequest>,
    logins: &Logins,
    connection: &Connection,
    progress: &Progress,
) -> Result<(), CommandError> {
    for mut request in requests {
        let is_named = request.login.is_some();
        if !is_named {
            request.login = logins.get(&request.image.registry).await;
        }
        let account = request.login.as_ref().map(|login| format!(" as {}", login.user)).unwrap_or_default();
        progress.print(&format!("requesting {}{account}", request.image));
        let mut pulled = pull::pull(&request, connection, progress).await;
        if let Err(PullError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) =
            pulled
            && !is_named
            && request.login.is_some()
        {
            progress.print("the registry refuses that login for this image; requesting it without");
            request.login = None;
            let refused = pulled;
            pulled = pull::pull(&request, connection, progress).await.or(refused);
        }
        let digest = pulled?;
        let ImageName { registry, repository, .. } = &request.image;
        let result = format!("{registry}/{repository}@{digest} -> ");
        if request.destination.is_stdout() {
            progress.print(&format!("{result}stdout"));
        } else {
            progress
                .suspend(|| print(&format!("{result}{}\n", request.destination.display())))
                .map_err(CommandError::Output)?;
        }
    }
    Ok(())
}

/// Where each image is written.
fn paths(
    images: &[ImageName],
    output: Option<PathBuf>,
    name: impl Fn(&ImageName) -> String,
) -> Result<Vec<PathBuf>, CommandError> {
    let directory = match (images, output) {
        ([_], Some(path)) => return Ok(vec![path]),
        (_, Some(path)) if !path.is_dir() => return Err(DestinationError::Several(path).into()),
        (_, path) => path.unwrap_or_default(),
    };
    let paths: Vec<_> = images.iter().map(|image| directory.join(name(image))).collect();
    match paths.iter().enumerate().find(|(n, path)| paths[..*n].contains(path)) {
        Some((_, twice)) => Err(DestinationError::Twice(twice.clone()).into()),
        None => Ok(paths),
    }
}

/// The account of `--creds`.
fn account(images: &[ImageName], user: String) -> Result<Login, CommandError> {
    let registry = &images[0].registry;
    if let Some(other) = images.iter().find(|image| image.registry != *registry) {
        return Err(CommandError::SeveralRegistries { one: registry.clone(), other: other.registry.clone() });
    }
    match std::env::var_os(PASSWORD_VARIABLE) {
        Some(password) => {
            let password = Secret::new(password.to_string_lossy());
            Ok(Login { registry: registry.clone(), user, password })
        }
        None => login::read_account(registry, Some(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> Vec<ImageName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn each_image_has_a_path_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let paths = |names: &[&str], output: Option<PathBuf>| {
            paths(&images(names), output, |image| default_name(image, None)).map_err(|why| why.to_string())
        };
        assert_eq!(paths(&["alpine"], None).unwrap(), [PathBuf::from("alpine-latest.tar")]);
        assert_eq!(paths(&["alpine"], Some("a/b".into())).unwrap(), [PathBuf::from("a/b")]);
        let two = paths(&["alpine", "b:1"], Some(dir.path().into())).unwrap();
        assert_eq!(two, [dir.path().join("alpine-latest.tar"), dir.path().join("b-1.tar")]);
        for output in ["-", "gone"] {
            assert!(paths(&["alpine", "b"], Some(output.into())).unwrap_err().contains("directory"));
        }
        assert!(paths(&["a/x", "b/x"], None).unwrap_err().contains("x-latest.tar"));
    }

    #[test]
    fn an_account_is_for_one_registry() {
        let error = account(&images(&["ghcr.io/a/b", "alpine"]), "me".into()).unwrap_err().to_string();
        assert!(error.contains("ghcr.io") && error.contains("docker.io"), "{error}");
    }
}
