//! Drives the targets with seeded bytes: `fuzz [--seconds N] [--seed N] [TARGET...]`, or `fuzz TARGET --case N` for one
//! case again. Exit status 1 and the case on a finding.
//!
//! Each target runs in a process of its own, which says what case it is about to run: so an abort and a case that
//! does not end are findings with a number, as a panic is.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, thread};

use tmi_fuzz::{TARGETS, Target, bytes_of_case};

/// No case takes a thousandth of it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Options {
    seconds: u64,
    seed: u64,
    case: Option<u64>,
    /// Whether this process runs cases and does not start others.
    is_worker: bool,
    targets: Vec<Target>,
}

fn main() -> ExitCode {
    let options = match options(env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if let Some(case) = options.case {
        options.targets.iter().for_each(|(_, target)| target(&bytes_of_case(case)));
        return ExitCode::SUCCESS;
    }
    if options.is_worker {
        options.targets.iter().for_each(|(_, target)| work(target, &options));
        return ExitCode::SUCCESS;
    }
    let mut has_findings = false;
    for (name, _) in &options.targets {
        match watch(name, &options) {
            Ok(Watched { cases, finding: None }) => println!("{name}: {cases} cases"),
            Ok(Watched { cases, finding: Some(what) }) => {
                println!("{name}: {what} after {cases} cases");
                has_findings = true;
            }
            Err(error) => {
                eprintln!("{name} does not start: {error}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(has_findings))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { seconds: 60, seed: 0, case: None, is_worker: false, targets: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let number = arguments.next().and_then(|number| number.parse::<u64>().ok());
            number.ok_or_else(|| format!("{argument} needs a number from 0"))
        };
        match argument.as_str() {
            "--seconds" => options.seconds = number()?,
            "--seed" => options.seed = number()?,
            "--case" => options.case = Some(number()?),
            "--worker" => options.is_worker = true,
            name => match TARGETS.iter().find(|(target, _)| *target == name) {
                Some(target) => options.targets.push(*target),
                None => {
                    return Err(format!(
                        "{name} is no target; they are {}",
                        TARGETS.map(|(name, _)| name).join(", ")
                    ));
                }
            },
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.to_vec();
    }
    Ok(options)
}

/// Runs case after case, each announced.
fn work(target: &fn(&[u8]), options: &Options) {
    let start = Instant::now();
    let mut out = io::stdout().lock();
    let mut case = options.seed << 40; // no two seeds share a case
    while start.elapsed() < Duration::from_secs(options.seconds) {
        let announced = writeln!(out, "{case}").and_then(|()| out.flush());
        announced.expect("the process that started this one listens");
        target(&bytes_of_case(case));
        case += 1;
    }
}

struct Watched {
    cases: u64,
    finding: Option<String>,
}

/// Runs a target in another process.
fn watch(name: &str, options: &Options) -> io::Result<Watched> {
    let mut worker = Command::new(env::current_exe()?)
        .args([
            name,
            "--worker",
            "--seconds",
            &options.seconds.to_string(),
            "--seed",
            &options.seed.to_string(),
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut cases, mut last) = (0, String::new());
    let said = lines_of(&mut worker);
    let is_stuck = loop {
        match said.recv_timeout(PATIENCE) {
            Ok(case) => (cases, last) = (cases + 1, case),
            Err(RecvTimeoutError::Timeout) => break true,
            Err(RecvTimeoutError::Disconnected) => break false,
        }
    };
    if is_stuck {
        worker.kill()?;
    }
    let status = worker.wait()?;
    let again = format!("`cargo run -p tmi-fuzz -- {name} --case {last}` shows it again");
    let finding = match (is_stuck, status.success()) {
        (true, _) => Some(format!("case {last} does not end in {PATIENCE:?} ({again})")),
        (false, false) => Some(format!("case {last} ends with {status} ({again})")),
        (false, true) => None,
    };
    Ok(Watched { cases, finding })
}

/// What a process writes, line by line.
fn lines_of(process: &mut Child) -> mpsc::Receiver<String> {
    let out = process.stdout.take().expect("the output is piped");
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}
