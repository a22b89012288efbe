//! The server's admin page: counts for all, names and actions behind the password.

use docxy_tests::docxy::Client;
use docxy_tests::process::PROCESS_TIMEOUT;
use http::Method;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{
    http_client::{HttpClient, HttpResponse},
    observed::observed,
    testbed::wait_until_up,
};

const PASSWORD: &str = "correct horse battery";

async fn post(admin: HttpClient, path: &str, cookie: &str, body: &Value) -> HttpResponse {
    let headers = [("content-type", "application/json"), ("cookie", cookie)];
    admin.request_with(Method::POST, path, &headers, &body.to_string()).await
}

async fn status(admin: HttpClient, cookie: &str) -> Value {
    admin.get("/api/status", &[("cookie", cookie)]).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_actions_are_behind_the_password() {
    let (testbed, admin) = observed(&[]).await;
    let page = admin.get("/", &[]).await;
    assert_eq!((page.status.as_u16(), page.header("x-content-type-options")), (200, "nosniff"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    for file in ["/style.css", "/admin.css", "/admin.js", "/elements.js", "/words.js"] {
        assert_eq!(admin.get(file, &[]).await.status, 200, "{file}");
    }
    let open = status(admin, "").await;
    assert_eq!((&open["access"], &open["clients_connected"]), (&json!("no-password"), &json!(1)));
    assert!(!open.to_string().contains("laptop") && !open.to_string().contains("127.0.0.1"), "{open}");
    let login = json!({ "password": PASSWORD });
    assert_eq!(post(admin, "/api/login", "", &login).await.status, 403);

    let set =
        block_in_place(|| testbed.server.command_with_input(&["admin-password"], &format!("{PASSWORD}\n")));
    set.unwrap().succeeded().unwrap();
    let too_short = block_in_place(|| testbed.server.command_with_input(&["admin-password"], "short\n"));
    too_short.unwrap().refused().unwrap();
    assert_eq!(status(admin, "").await["access"], "logged-out");
    let name = json!({ "name": "phone" });
    assert_eq!(post(admin, "/api/invite", "", &name).await.status, 401);
    let logged_in = post(admin, "/api/login", "", &login).await;
    assert_eq!(logged_in.status, 200);
    let set_cookie = logged_in.header("set-cookie");
    assert!(set_cookie.contains("HttpOnly") && set_cookie.contains("SameSite=Strict"), "{set_cookie}");
    let cookie = set_cookie.split(';').next().unwrap();
    let seen = status(admin, cookie).await;
    assert_eq!(seen["access"], "operator");
    let laptop =
        seen["clients"].as_array().unwrap().iter().find(|client| client["name"] == "laptop").unwrap();
    assert!(laptop["sessions"][0]["leg"].is_string(), "{seen}");
    assert_eq!(seen["registries"][0]["name"], "docker.io", "{seen}");
    assert_eq!((&seen["cache"][0]["kind"], &seen["cache"][0]["count"]), (&json!("manifests"), &json!(0)));

    let invited = post(admin, "/api/invite", cookie, &name).await;
    let link = invited.json()["link"].as_str().unwrap().to_owned();
    assert_eq!(post(admin, "/api/invite", cookie, &name).await.status, 409, "the name is taken");
    let mut phone = block_in_place(|| Client::start(None, &link)).unwrap();
    wait_until_up(&mut phone);
    assert_eq!(post(admin, "/api/revoke", cookie, &name).await.status, 200);
    let is_refused = |health: &Value| health["tunnel"] == "refused";
    block_in_place(|| phone.wait_for_health("be refused", PROCESS_TIMEOUT, is_refused)).unwrap();
    assert_eq!(post(admin, "/api/revoke", cookie, &json!({ "name": "nobody" })).await.status, 404);

    // A plain form of any page could be sent, and is not JSON.
    let form = [("cookie", cookie), ("content-type", "text/plain")];
    let refused = admin.request_with(Method::POST, "/api/revoke", &form, "{\"name\":\"laptop\"}").await;
    assert_eq!(refused.status, 415);
    for foreign in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let headers = [("cookie", cookie), ("content-type", "application/json"), foreign];
        let refused =
            admin.request_with(Method::POST, "/api/revoke", &headers, "{\"name\":\"laptop\"}").await;
        assert_eq!(refused.status, 403, "{foreign:?}");
    }
    assert_eq!(post(admin, "/api/logout", cookie, &json!({})).await.status, 200);
    assert_eq!(status(admin, cookie).await["access"], "logged-out");
    let wrong = json!({ "password": "correct horse batterx" });
    for expected in [401, 401, 401, 401, 401, 429] {
        assert_eq!(post(admin, "/api/login", "", &wrong).await.status, expected);
    }
}
