//! The clients as they are now, for the running server.
//!
//! Must never take a client's access away because the file is unreadable for a moment.

use super::clients::ClientBook;
use super::{State, StateError};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Time between looks at the file. Revoking has to end connections within 2 s.
///
/// Looking is all that works everywhere: inotify says nothing of changes that come through a
/// network file system or a container's mount, and twice a second costs next to nothing.
const INTERVAL: Duration = Duration::from_millis(500);

/// A view of the clients that stays up to date.
#[derive(Debug, Clone)]
pub struct ClientWatch {
    books: watch::Receiver<Arc<ClientBook>>,
    /// Looks at the file so far.
    looks: watch::Receiver<u64>,
    look_now: Arc<Notify>,
}

impl ClientWatch {
    /// Reads the file, and goes on watching it until the last receiver is gone. Needs a running
    /// runtime.
    ///
    /// # Errors
    /// Where the file cannot be read now. What happens to it later is logged.
    pub fn start(state: &State) -> Result<Self, StateError> {
        let path = state.clients_path();
        // Looked at before it is read, so that a change in between is seen as one.
        let seen = Fingerprint::of(std::fs::metadata(&path));
        let (sender, receiver) = watch::channel(Arc::new(ClientBook::load(&path)?));
        let (counter, looks) = watch::channel(0);
        let look_now = Arc::<Notify>::default();
        let notified = Arc::clone(&look_now);
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = follow(&path, seen, &notified, &sender, &counter) => {}
            }
        });
        Ok(Self { books: receiver, looks, look_now })
    }

    /// Has the file looked at without waiting for the next turn.
    pub fn look_now(&self) {
        self.look_now.notify_one();
    }

    /// The latest book; each new one wakes those who wait.
    ///
    /// Whoever holds a connection should authenticate its client again with each new book: the
    /// name alone doesn't tell whether it was revoked and given to somebody else in between.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClientBook>> {
        self.books.clone()
    }

    /// Waits until the file has been looked at once more, however long a busy machine takes for that.
    /// A book that has changed by now is the latest one then.
    pub async fn next_look(&self) {
        let mut looks = self.looks.clone();
        // One may be under way, and have begun before the change.
        let next = *looks.borrow() + 2;
        // Nobody looks any more where the server is ending.
        let _ = looks.wait_for(|look| *look >= next).await;
    }
}

async fn follow(
    path: &Path,
    mut seen: Option<Fingerprint>,
    look_now: &Notify,
    sender: &watch::Sender<Arc<ClientBook>>,
    looks: &watch::Sender<u64>,
) {
    let mut complaint = None;
    loop {
        // A time-out is the usual case.
        let _ = tokio::time::timeout(INTERVAL, look_now.notified()).await;
        look(path, &mut seen, &mut complaint, sender).await;
        looks.send_modify(|looks| *looks += 1);
    }
}

async fn look(
    path: &Path,
    seen: &mut Option<Fingerprint>,
    complaint: &mut Option<String>,
    sender: &watch::Sender<Arc<ClientBook>>,
) {
    let found = Fingerprint::of(tokio::fs::metadata(path).await);
    if found == *seen {
        return;
    }
    match read(path).await {
        Ok(book) => {
            tracing::info!("the clients have changed");
            sender.send_replace(Arc::new(book));
            (*seen, *complaint) = (found, None);
        }
        // Tried again at the next look: a revocation must not be lost because there were no
        // descriptors left for a moment. Said once, since that is twice a second.
        Err(error) => {
            let error = Some(error.to_string());
            if let Some(error) = error.as_ref().filter(|_| error != *complaint) {
                let path = path.display();
                tracing::error!("the clients stay as they were: {path}: {error}");
            }
            *complaint = error;
        }
    }
}

async fn read(path: &Path) -> Result<ClientBook, Box<dyn std::error::Error + Send + Sync>> {
    Ok(ClientBook::parse(&tokio::fs::read(path).await?)?)
}

/// What tells one version of the file from another without reading it. A replaced file has
/// another inode, an edited one another time or length. It is the time of the last change of any
/// kind: a file that has only become readable counts too.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

impl Fingerprint {
    fn of(metadata: std::io::Result<Metadata>) -> Option<Self> {
        let metadata = metadata.ok()?;
        Some(Self {
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::link::ClientSecret;
    use jiff::Timestamp;

    #[tokio::test]
    async fn a_running_server_learns_of_new_and_revoked_clients() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let mut watch = ClientWatch::start(&state).unwrap().subscribe();
        assert!(watch.borrow_and_update().is_empty());
        let name = "laptop".parse().unwrap();
        let secret = ClientSecret::from_random([1; 32]);
        let now = Timestamp::UNIX_EPOCH;

        state.change_clients(|book| book.add(&name, &secret, now)).unwrap();
        changed(&mut watch).await;
        assert!(watch.borrow().authenticate(&name, &secret).is_ok());

        state.change_clients(|book| book.revoke(&name, now)).unwrap();
        changed(&mut watch).await;
        assert!(watch.borrow().authenticate(&name, &secret).is_err());
    }

    #[tokio::test]
    async fn whoever_was_added_is_known_after_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let watch = ClientWatch::start(&state).unwrap();
        let (name, secret) = ("laptop".parse().unwrap(), ClientSecret::from_random([1; 32]));
        state.change_clients(|book| book.add(&name, &secret, Timestamp::UNIX_EPOCH)).unwrap();
        watch.next_look().await;
        assert!(watch.subscribe().borrow().authenticate(&name, &secret).is_ok());
    }

    #[tokio::test]
    async fn a_broken_file_leaves_everyone_connected() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let name = "laptop".parse().unwrap();
        let secret = ClientSecret::from_random([1; 32]);
        let now = Timestamp::UNIX_EPOCH;
        state.change_clients(|book| book.add(&name, &secret, now)).unwrap();
        let good = std::fs::read(state.clients_path()).unwrap();
        let mut watch = ClientWatch::start(&state).unwrap().subscribe();

        std::fs::write(state.clients_path(), "oops").unwrap();
        tokio::time::sleep(INTERVAL * 3).await;
        std::fs::remove_file(state.clients_path()).unwrap();
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(!watch.has_changed().unwrap());
        assert!(watch.borrow().authenticate(&name, &secret).is_ok());

        std::fs::write(state.clients_path(), good).unwrap();
        changed(&mut watch).await;
        assert!(watch.borrow().authenticate(&name, &secret).is_ok());
    }

    async fn changed(watch: &mut watch::Receiver<Arc<ClientBook>>) {
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, watch.changed()).await.unwrap().unwrap();
    }
}
