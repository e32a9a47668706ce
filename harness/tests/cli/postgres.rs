//! A PostgreSQL server of a test's own, where its programs are installed.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A server that stops, and leaves nothing, when it is dropped.
pub(crate) struct Server {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Server {
    /// Starts a server; `None` where there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let server = Self {
            folder: TempDir::new().unwrap(),
            programs: programs()?,
            port: free_port(),
        };
        let folder = server.folder.path();
        fs::write(folder.join("password"), "geheim\n").unwrap();
        if is_root() {
            // The server refuses to run as root.
            let owned = Command::new("chown")
                .args(["-R", "postgres"])
                .arg(folder)
                .status();
            assert!(owned.unwrap().success());
        }
        let text = |name: &str| folder.join(name).display().to_string();
        server.run(
            "initdb",
            &[
                "--pgdata",
                &text("data"),
                "--auth=scram-sha-256",
                "--username=postgres",
                "--pwfile",
                &text("password"),
                "--no-sync",
                "--no-locale",
                "--encoding=UTF8",
            ],
        );
        let options = format!(
            "-p {} -k '' -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB",
            server.port
        );
        let (data, log) = (text("data"), text("log"));
        let start = ["-D", &data, "-l", &log, "-o", &options, "-w", "start"];
        server.run("pg_ctl", &start);
        Some(server)
    }

    /// How to get in.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres:geheim@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// The only row of a query, with `|` between its columns.
    pub(crate) fn ask(&self, sql: &str) -> String {
        let output = self.run("psql", &[&self.url(), "-At", "-c", sql]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let program = self.programs.join(program);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        // A server that inherits a pipe would keep the reader waiting.
        let output = match arguments.contains(&"start") {
            true => {
                let status = command.args(arguments).current_dir(self.folder.path());
                let status = status.stdout(std::process::Stdio::null()).status().unwrap();
                Output {
                    status,
                    stdout: vec![],
                    stderr: vec![],
                }
            }
            false => {
                let command = command.args(arguments).current_dir(self.folder.path());
                command.output().unwrap()
            }
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        output
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.path().join("data").display().to_string();
        if Path::new(&data).join("postmaster.pid").exists() {
            self.run("pg_ctl", &["-D", &data, "-m", "immediate", "-w", "stop"]);
        }
    }
}

/// The folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists() && bin.join("psql").exists())
        .collect();
    found.sort();
    found.pop()
}

fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").output();
    asked.is_ok_and(|output| output.stdout == b"0\n")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
