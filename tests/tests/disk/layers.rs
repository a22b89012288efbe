//! A disk that cannot keep layers costs no pull, and `docxy-client status` says why it keeps none.

use docxy_tests::stored::{Trouble, pull_with};

#[test]
fn pulls_go_on_without_a_disk_and_status_says_why() {
    for trouble in Trouble::ALL {
        let outcome = pull_with(trouble).unwrap();
        assert!(outcome.is_whole, "{trouble:?}");
        let told = outcome.status.starts_with("new layers are not kept: ");
        assert_eq!(told, trouble.stops_the_cache(), "{trouble:?}: {}", outcome.status);
    }
}
