//! The program `chat-server` in its own process.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-server");

/// A running server. Dropping it sends SIGKILL, so that the server cannot clean
/// up.
pub struct Program {
    pub child: Child,
    /// The line that it prints when it listens.
    ready: String,
}

impl Program {
    /// Starts a server with these flags and waits until it listens.
    pub fn start(flags: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::spawn(Command::new(PROGRAM).args(flags))
    }

    /// The same for a server whose writes beyond the file-size limit fail
    /// instead of ending the process; see [`Self::limit_file_size`].
    pub fn start_with_file_size_limit(flags: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let command = ["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM];
        Self::spawn(Command::new("sh").args(command).args(flags))
    }

    fn spawn(command: &mut Command) -> Self {
        let command = command.env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut ready).expect("a line");
        Self { child, ready }
    }

    /// Returns an address of the ready line, such as that after `irc=`.
    pub fn address(&self, name: &str) -> SocketAddr {
        let address = self.ready.split_whitespace().find_map(|word| word.strip_prefix(name));
        address.expect(&self.ready).parse().expect("an address")
    }

    /// Returns a connection that has sent `lines`.
    pub fn client(&self, lines: &str) -> BufReader<TcpStream> {
        let mut client = BufReader::new(connect(self.address("irc=")));
        say(&mut client, lines);
        client
    }

    /// Lets all writes of the server to files fail, or lifts that limit.
    #[cfg(target_os = "linux")]
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let maximum = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: bytes.or(maximum), maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).expect("set");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a connection whose reads fail after 30 s.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("accepted");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream
}

pub fn say(client: &mut BufReader<TcpStream>, lines: &str) {
    client.get_mut().write_all(format!("{lines}\r\n").as_bytes()).expect("sent");
}
