//! A testbed whose server pays for public pulls with the operator's account.
//! Must never let a client see that account.

use hub_stand_in::Image;
use tokio::task::block_in_place;

use super::{
    http_client::HttpClient,
    testbed::{Testbed, client, config, hub, invite, server},
};

pub(crate) const OPERATOR: (&str, &str) = ("operator", "open-sesame-operator");

/// A testbed whose server uses the operator's account, with this password.
pub(crate) async fn testbed_with_account(password: &str) -> Testbed {
    let hub = hub().await;
    hub.store().add_account(OPERATOR.0, OPERATOR.1);
    hub.store().publish("operator/secret", "latest", &secret());
    hub.store().make_private("operator/secret", &[OPERATOR.0]);
    let mut server = server(&config(&hub));
    block_in_place(|| {
        server.stop().unwrap();
        let folder = server.state().parent().unwrap().to_owned();
        std::fs::write(folder.join("password"), format!("{password}\n")).unwrap();
        let config = folder.join("server.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let account =
            format!("account = {{ user = {:?}, password_file = \"password\" }}\napi = ", OPERATOR.0);
        std::fs::write(&config, text.replacen("api = ", &account, 1)).unwrap();
        server.start_again().unwrap();
    });
    let client = client(&invite(&mut server, "laptop"), &[]);
    Testbed { engine: HttpClient::at(client.address()), client, server, hub }
}

/// The image of the operator's private repository.
pub(crate) fn secret() -> Image {
    Image::hello_from("the operator").unwrap()
}
