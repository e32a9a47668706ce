//! A program that answers a line by a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc::{Receiver, channel};

use crate::interrupt::Interrupt;

/// How long a program may take to start again after it was stopped.
const TIME_TO_START: Duration = Duration::from_secs(60);

/// A program with its command, so that it can be started again after a timeout.
pub(super) struct Process {
    program: String,
    arguments: Vec<String>,
    /// What it is told first.
    opening: String,
    running: Option<Running>,
}

struct Running {
    child: Child,
    answers: Receiver<String>,
}

/// What came back.
pub(super) enum Answer {
    Line(String),
    TimedOut,
    Interrupted,
    /// The program ended, or could not be started.
    Gone,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// A program that is not started yet.
    pub(super) fn new(program: &str, arguments: &[&str], opening: String) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            opening,
            running: None,
        }
    }

    /// Starts it, and returns its answer to what it is told first.
    pub(super) async fn open(&mut self, timeout: Duration, interrupt: &mut Interrupt) -> Answer {
        match self.start() {
            Ok(running) => {
                self.running = Some(running);
                let opening = self.opening.clone();
                self.exchange(&opening, timeout.max(TIME_TO_START), interrupt)
                    .await
            }
            Err(error) => {
                tracing::error!(error = crate::one_line(&error), "a program does not start");
                Answer::Gone
            }
        }
    }

    /// Asks, and waits for the answer; a program that takes too long is ended.
    pub(super) async fn ask(
        &mut self,
        line: &str,
        timeout: Duration,
        interrupt: &mut Interrupt,
    ) -> Answer {
        if self.running.is_none() {
            match self.open(timeout, interrupt).await {
                Answer::Line(_) => {}
                other => return other,
            }
        }
        self.exchange(line, timeout, interrupt).await
    }

    async fn exchange(
        &mut self,
        line: &str,
        timeout: Duration,
        interrupt: &mut Interrupt,
    ) -> Answer {
        let Some(running) = &mut self.running else {
            return Answer::Gone;
        };
        let sent = match &mut running.child.stdin {
            Some(input) => writeln!(input, "{line}").and_then(|()| input.flush()),
            None => Ok(()),
        };
        let answer = match sent {
            Err(_) => Answer::Gone,
            Ok(()) => tokio::select! {
                answer = running.answers.recv() => answer.map_or(Answer::Gone, Answer::Line),
                () = tokio::time::sleep(timeout) => Answer::TimedOut,
                () = interrupt.wait() => Answer::Interrupted,
            },
        };
        if !matches!(answer, Answer::Line(_)) {
            // It may still be at work, and its answer would be taken for that of the next question.
            self.running = None;
        }
        answer
    }

    fn start(&self) -> Result<Running> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program))?;
        let output = child.stdout.take().context("a program has no output")?;
        let (sender, answers) = channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Running { child, answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Process {
        Process::new("sh", &["-c", script], "hello".to_owned())
    }

    #[tokio::test]
    async fn programs_start_again_after_a_timeout() {
        let (_sender, mut interrupt) = Interrupt::manual();
        let script = "read a; echo ready $a; while read line; do \
                      if [ \"$line\" = sleep ]; then sleep 100; else echo \"got $line\"; fi; done";
        let mut process = shell(script);
        let line = |answer| match answer {
            Answer::Line(line) => line,
            _ => "no answer".to_owned(),
        };
        assert_eq!(
            line(process.open(PATIENCE, &mut interrupt).await),
            "ready hello"
        );
        assert_eq!(
            line(process.ask("one", PATIENCE, &mut interrupt).await),
            "got one"
        );
        let soon = Duration::from_millis(50);
        let answer = process.ask("sleep", soon, &mut interrupt).await;
        assert!(matches!(answer, Answer::TimedOut));
        assert_eq!(
            line(process.ask("two", PATIENCE, &mut interrupt).await),
            "got two"
        );
    }

    #[tokio::test]
    async fn programs_that_end_are_gone() {
        let (sender, mut interrupt) = Interrupt::manual();
        let mut process = shell("exit 3");
        let answer = process.open(PATIENCE, &mut interrupt).await;
        assert!(matches!(answer, Answer::Gone));
        let mut process = Process::new("no such program", &[], String::new());
        let answer = process.open(PATIENCE, &mut interrupt).await;
        assert!(matches!(answer, Answer::Gone));
        sender.send_replace(true);
        let mut process = shell("sleep 100");
        let answer = process.open(PATIENCE, &mut interrupt).await;
        assert!(matches!(answer, Answer::Interrupted));
    }
}
