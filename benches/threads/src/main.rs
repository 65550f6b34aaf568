//! A chat server with one thread per connection. The benchmarks compare it with
//! `chat-server`, to show what the same chat costs without an event loop.
//!
//! It implements only the IRC commands that the load generator needs: NICK,
//! USER, JOIN, PART, PRIVMSG, PING, NAMES, WHO, QUIT. The sender's thread writes
//! a message to each member's socket, one after the other, under the socket's
//! lock, as such servers do. A member that does not read blocks the sender.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env, thread};

/// Stack size of a connection's thread, large enough for this server. The
/// default of 2 MiB would cost only address space, too.
const STACK_SIZE: usize = 64 * 1024;

type Socket = Arc<Mutex<TcpStream>>;
/// The members of each channel, by nick.
type Channels = Arc<Mutex<HashMap<String, HashMap<String, Socket>>>>;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6667".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("thread-chat ready irc={}", listener.local_addr()?);
    let channels = Channels::default();
    for stream in listener.incoming() {
        let channels = Arc::clone(&channels);
        let started = stream.and_then(|stream| {
            thread::Builder::new().stack_size(STACK_SIZE).spawn(move || serve(stream, &channels))
        });
        if let Err(error) = started {
            eprintln!("cannot serve a connection: {error}");
        }
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one client until its connection ends.
fn serve(stream: TcpStream, channels: &Channels) {
    let mut client = Client { nick: "*".to_owned(), channels: Arc::clone(channels), socket: None };
    if let Err(error) = client.run(stream) {
        let expected = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        if !expected.contains(&error.kind()) {
            eprintln!("{}: {error}", client.nick);
        }
    }
    for members in locked(channels).values_mut() {
        members.remove(&client.nick);
    }
}

struct Client {
    nick: String,
    channels: Channels,
    socket: Option<Socket>,
}

impl Client {
    fn run(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let lines = BufReader::with_capacity(1024, stream.try_clone()?);
        self.socket = Some(Arc::new(Mutex::new(stream)));
        for line in lines.lines() {
            let line = line?;
            let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
            if command == "QUIT" {
                break;
            }
            self.handle_line(command, rest)?;
        }
        Ok(())
    }

    fn handle_line(&mut self, command: &str, rest: &str) -> io::Result<()> {
        let first = rest.split(' ').next().unwrap_or_default().to_owned();
        let nick = self.nick.clone();
        match command {
            "NICK" => self.nick = first,
            "USER" => self.reply(&format!(":t 001 {nick} :Welcome\r\n:t 422 {nick} :No MOTD\r\n"))?,
            "PING" => self.reply(&format!(":t PONG t {rest}\r\n"))?,
            "JOIN" => self.join(&first)?,
            "PART" => {
                self.broadcast(&first, &format!(":{nick}!u@h PART {first}\r\n"), true);
                if let Some(members) = locked(&self.channels).get_mut(&first) {
                    members.remove(&nick);
                }
            }
            "PRIVMSG" => self.broadcast(&first, &format!(":{nick}!u@h PRIVMSG {rest}\r\n"), false),
            "NAMES" => self.reply(&format!(":t 366 {nick} {first} :End of /NAMES list\r\n"))?,
            "WHO" => self.reply(&format!(":t 315 {nick} {first} :End of /WHO list\r\n"))?,
            _ => self.reply(&format!(":t 421 {nick} {command} :Unknown command\r\n"))?,
        }
        Ok(())
    }

    fn join(&self, channel: &str) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        locked(&self.channels)
            .entry(channel.to_owned())
            .or_default()
            .insert(self.nick.clone(), Arc::clone(socket));
        self.broadcast(channel, &format!(":{}!u@h JOIN {channel}\r\n", self.nick), true);
        self.reply(&format!(":t 366 {} {channel} :End of /NAMES list\r\n", self.nick))
    }

    /// Writes a line to every member of a channel, on this thread.
    fn broadcast(&self, channel: &str, line: &str, also_self: bool) {
        let members: Vec<_> = locked(&self.channels)
            .get(channel)
            .into_iter()
            .flatten()
            .filter(|(nick, _)| also_self || **nick != self.nick)
            .map(|(_, socket)| Arc::clone(socket))
            .collect();
        for member in members {
            // An error means that this member's connection has ended. The
            // thread that reads the connection detects that.
            let _ = locked(&member).write_all(line.as_bytes());
        }
    }

    fn reply(&self, text: &str) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| locked(socket).write_all(text.as_bytes()))
    }
}
