//! The link emulator as a program: runs a command or a shell beside an emulated link.
//! Must never leave a link or a namespace behind, however it ends. After SIGKILL, the next run deletes them.

use std::{
    convert::Infallible,
    env, fs,
    io::{self, Write as _},
    path::PathBuf,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use docxy_tests::{
    process::scratch,
    wan::{
        Conditions, Link, LinkOptions, LinkPreset, NamespacePair, PRESETS, Wan,
        control::{Request, Response, handle},
    },
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// Environment variable with the path of the control socket, for the command and for `wan ctl`.
const CONTROL_VARIABLE: &str = "WAN_CONTROL";

/// How long the command may take to end after SIGTERM before it is killed.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest request line that the control socket reads.
const REQUEST_BYTES_MAX: u64 = 4096;

/// Emulates a long, slow, lossy or hostile link between two network namespaces. Needs root.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: WanCommand,
}

const EXAMPLES: &str = "\
Examples:
  wan list
  wan up transpacific-5% -- bash -c 'ip netns exec $WAN_LEFT ping -c 3 $WAN_RIGHT_IP'
  wan up --rtt 80ms --rate 50mbit/10mbit --loss 2%:8 --udp 20mbit -- bash
  wan ctl set --rate 10mbit        # in that shell: changes the link while programs use it
  wan ctl outage 3s
  wan ctl report

A packet passes, in this order: outages, the rules for IPv6, UDP, TCP and a port, loss, the queue, the bottleneck,
delay and jitter.
A value is for both directions, unless it is written A/B: A from left to right, B from right to left.

Environment of the command:
  WAN_LEFT, WAN_RIGHT        names of the two namespaces, for `ip netns exec` or nsenter
  WAN_LEFT_IP, WAN_RIGHT_IP  the addresses of the two ends
  WAN_CONTROL                the control socket, which `wan ctl` uses";

#[derive(Subcommand)]
enum WanCommand {
    /// Bring up a link, run a command beside it, take the link down
    Up(Box<Up>),
    /// Print the named links with their options
    List,
    /// Change a link that is up, or print its report
    ///
    /// The environment variable WAN_CONTROL names the link's control socket; `wan up` sets it for its command.
    #[command(subcommand)]
    Ctl(Request),
}

/// Without a command the link stays up until SIGINT or SIGTERM. The exit status is the command's.
#[derive(Args)]
struct Up {
    /// A named link (see `wan list`); without one, a perfect link for the options to change
    #[arg(value_parser = link_preset)]
    link: Option<&'static LinkPreset>,
    #[command(flatten)]
    options: LinkOptions,
    /// Seed of the random numbers for loss and jitter
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write the report to a file as JSON at the end
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Do not print the report at the end
    #[arg(long)]
    quiet: bool,
    /// The command, which runs outside the namespaces
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let outcome = match Arguments::parse().command {
        WanCommand::Up(arguments) => up(*arguments).await,
        WanCommand::List => list(),
        WanCommand::Ctl(_) => ctl().await,
    };
    outcome.unwrap_or_else(|error| {
        // If stderr is closed too, the exit status alone reports the error.
        let _ = writeln!(io::stderr(), "wan: {error:#}");
        ExitCode::FAILURE
    })
}

async fn up(arguments: Up) -> Result<ExitCode> {
    // Before the link is created: from here on a signal takes it down in order.
    let mut signals = Signals::new()?;
    let mut link = arguments.link.map_or(Link::symmetric(Conditions::PERFECT), |named| named.link);
    arguments.options.apply(&mut link);

    let pair = NamespacePair::new()?;
    let wan = Wan::join(&pair.left, &pair.right, link, arguments.seed)?;
    let folder = scratch()?;
    let control = folder.path().join("control");
    let listener = UnixListener::bind(&control)?;
    let environment = [
        ("WAN_LEFT", pair.left.namespace.clone()),
        ("WAN_RIGHT", pair.right.namespace.clone()),
        ("WAN_LEFT_IP", pair.left.address.to_string()),
        ("WAN_RIGHT_IP", pair.right.address.to_string()),
        (CONTROL_VARIABLE, control.display().to_string()),
    ];
    let outcome = tokio::select! {
        outcome = run_command(&arguments.command, environment, &mut signals) => outcome?,
        never = serve(&listener, &wan) => match never {},
    };

    let report = wan.report()?;
    if let Some(file) = arguments.json {
        fs::write(&file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if !arguments.quiet {
        writeln!(io::stderr(), "{report}")?;
    }
    Ok(outcome)
}

/// Runs the command to its end; without a command, waits for a signal.
async fn run_command(
    command: &[String],
    environment: [(&str, String); 5],
    signals: &mut Signals,
) -> Result<ExitCode> {
    let Some((program, words)) = command.split_first() else {
        for (name, value) in environment {
            writeln!(io::stdout(), "export {name}={value}")?;
        }
        signals.next().await;
        return Ok(ExitCode::SUCCESS);
    };
    let mut command = Command::new(program);
    command.args(words).envs(environment).kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    run_until_ended(child, signals).await
}

/// Waits for the command to end. After a signal it gets SIGTERM, and SIGKILL when the timeout is over.
async fn run_until_ended(mut child: Child, signals: &mut Signals) -> Result<ExitCode> {
    tokio::select! {
        status = child.wait() => return Ok(exit_code(status?)),
        () = signals.next() => {}
    }
    if let Some(pid) = child.id() {
        // The shell's own `kill`, as tokio has SIGKILL only.
        Command::new("sh").args(["-c", r#"kill -s TERM "$0""#, &pid.to_string()]).status().await?;
    }
    match timeout(TERMINATION_TIMEOUT, child.wait()).await {
        Ok(status) => Ok(exit_code(status?)),
        Err(_) => {
            child.kill().await?;
            bail!("the command did not end within {TERMINATION_TIMEOUT:?} of a signal and was killed")
        }
    }
}

/// The exit code as in a shell: the command's own, or 128 + the number of the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn list() -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    for LinkPreset { name, description, link } in PRESETS {
        writeln!(out, "{name:20} {description}\n{:20} {link}", "")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends the request's words, which the argument parser has checked already.
async fn ctl() -> Result<ExitCode> {
    let control = PathBuf::from(
        env::var_os(CONTROL_VARIABLE).with_context(|| format!("{CONTROL_VARIABLE} is not set"))?,
    );
    let words: Vec<_> = env::args().skip_while(|word| word != "ctl").skip(1).collect();
    let mut socket = UnixStream::connect(&control)
        .await
        .with_context(|| format!("no link answers at {}", control.display()))?;
    socket.write_all(words.join(" ").as_bytes()).await?;
    socket.shutdown().await?;
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await?;
    let response: Response = serde_json::from_slice(&response).context("the link's process has ended")?;
    let value = response.map_err(|why| anyhow!(why))?;
    if !value.is_null() {
        writeln!(io::stdout(), "{value:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves requests forever, one per connection.
async fn serve(listener: &UnixListener, wan: &Wan) -> Infallible {
    loop {
        let responded = match listener.accept().await {
            Ok((socket, _)) => timeout(TERMINATION_TIMEOUT, respond(socket, wan)).await,
            Err(error) => Ok(Err(error.into())),
        };
        if let Ok(Err(error)) = responded {
            tracing::warn!("control socket: {error:#}");
        }
    }
}

async fn respond(mut socket: UnixStream, wan: &Wan) -> Result<()> {
    let (input, mut output) = socket.split();
    let mut line = String::new();
    BufReader::new(input.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    output.write_all(&serde_json::to_vec(&handle(&line, wan))?).await?;
    Ok(())
}

fn link_preset(name: &str) -> Result<&'static LinkPreset> {
    LinkPreset::find(name).with_context(|| "no such link; `wan list` shows them".to_owned())
}

/// The signals that end the link.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
