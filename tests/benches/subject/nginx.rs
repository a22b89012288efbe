//! nginx as a reverse proxy of the stand-in's CDN, HTTPS upstream and HTTP downstream: the common alternative. Other benches
//! start it with directives of their own.
//! Must never cache: all bytes come from the source each time.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use anyhow::Result;
use docxy_tests::{
    net::{Namespace, command_in},
    process::{PROCESS_TIMEOUT, Process, scratch},
};
use hub_stand_in::Names;

use super::{Role, RunningSubject, Subject, direct};
use crate::topology::Topology;

/// One nginx process.
pub(crate) struct Nginx;

const PROGRAM: &str = "nginx";

impl Nginx {
    /// Whether nginx is installed.
    pub(crate) fn is_here() -> bool {
        Command::new(PROGRAM).arg("-v").output().is_ok_and(|version| version.status.success())
    }

    /// Starts it with these directives of its `http` block, and waits until it listens.
    pub(crate) fn spawn(
        namespace: Option<&Namespace>,
        directives: &str,
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Process> {
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(directives, folder))?;
        let mut command = command_in(namespace, PROGRAM);
        command.arg("-p").arg(folder).arg("-c").arg(&config).args(["-e", "stderr"]);
        let mut nginx = Process::spawn(PROGRAM, command, folder)?;
        nginx.wait_for("listen", PROCESS_TIMEOUT, |nginx| {
            Ok(nginx.listening()?.contains(&address).then_some(()))
        })?;
        Ok(nginx)
    }
}

impl Subject for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn start(&self, topology: &Topology<'_>) -> Result<RunningSubject> {
        let folder = scratch()?;
        let address = free_address(topology.server_ip)?;
        let server = reverse_proxy(address, topology);
        let nginx = Self::spawn(topology.server, &server, address, folder.path())?;
        let reader = direct::hub_reader(topology)?.with(format!("--redirect-to=http://{address}"));
        let pid = nginx.pid();
        Ok(RunningSubject::new(Role::Reader, reader)
            .with_process(Role::Source, topology.source.pid())
            .with_process(Role::Server, pid)
            .with_owner(nginx)
            .with_owner(folder))
    }
}

/// nginx does not accept port 0, so a free port is found first. No other process of a bench binds a port meanwhile.
fn free_address(ip: IpAddr) -> Result<SocketAddr> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?)
}

/// One process without temporary files: the disk is not to be measured.
fn configuration(directives: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/client; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {directives}
}}
"
    )
}

/// A reverse proxy as in nginx's documentation.
fn reverse_proxy(listen: SocketAddr, topology: &Topology<'_>) -> String {
    let (cdn, name, ca) = (topology.source.cdn(), Names::default().cdn, topology.source.ca());
    format!(
        "server {{
        listen {listen};
        location / {{
            proxy_pass https://{cdn};
            proxy_http_version 1.1;
            proxy_set_header Host {name};
            proxy_ssl_server_name on;
            proxy_ssl_name {name};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca};
            proxy_max_temp_file_size 0;
        }}
    }}",
        ca = ca.display()
    )
}
