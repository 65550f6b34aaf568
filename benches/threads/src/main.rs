//! The same chat as `chat-server`, with a thread for each connection: what it would cost without an event loop.
//!
//! Only what a load generator needs of IRC: NICK, USER, JOIN, PART, PRIVMSG, PING, NAMES, WHO, QUIT. A message is
//! written by the sender's own thread to each member's socket in turn, behind the socket's lock, as such servers do:
//! one that does not read holds the sender up.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env, thread};

/// Enough for what is done here; the default of 2 MiB is only address space, too.
const STACK: usize = 64 * 1024;

type Socket = Arc<Mutex<TcpStream>>;
/// The members of each room, by nick.
type Rooms = Arc<Mutex<HashMap<String, HashMap<String, Socket>>>>;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6667".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("thread-chat ready irc={}", listener.local_addr()?);
    let rooms = Rooms::default();
    for stream in listener.incoming() {
        let rooms = Arc::clone(&rooms);
        let started = stream
            .and_then(|stream| thread::Builder::new().stack_size(STACK).spawn(move || serve(stream, &rooms)));
        if let Err(error) = started {
            eprintln!("a connection could not be served: {error}");
        }
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one client to its end.
fn serve(stream: TcpStream, rooms: &Rooms) {
    let mut client = Client { nick: "*".to_owned(), rooms: Arc::clone(rooms), socket: None };
    if let Err(error) = client.run(stream) {
        let expected = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        if !expected.contains(&error.kind()) {
            eprintln!("{}: {error}", client.nick);
        }
    }
    for members in locked(rooms).values_mut() {
        members.remove(&client.nick);
    }
}

struct Client {
    nick: String,
    rooms: Rooms,
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
            self.take(command, rest)?;
        }
        Ok(())
    }

    fn take(&mut self, command: &str, rest: &str) -> io::Result<()> {
        let first = rest.split(' ').next().unwrap_or_default().to_owned();
        let nick = self.nick.clone();
        match command {
            "NICK" => self.nick = first,
            "USER" => self.reply(&format!(":t 001 {nick} :Welcome\r\n:t 422 {nick} :No MOTD\r\n"))?,
            "PING" => self.reply(&format!(":t PONG t {rest}\r\n"))?,
            "JOIN" => self.join(&first)?,
            "PART" => {
                self.tell(&first, &format!(":{nick}!u@h PART {first}\r\n"), true);
                if let Some(members) = locked(&self.rooms).get_mut(&first) {
                    members.remove(&nick);
                }
            }
            "PRIVMSG" => self.tell(&first, &format!(":{nick}!u@h PRIVMSG {rest}\r\n"), false),
            "NAMES" => self.reply(&format!(":t 366 {nick} {first} :End of /NAMES list\r\n"))?,
            "WHO" => self.reply(&format!(":t 315 {nick} {first} :End of /WHO list\r\n"))?,
            _ => self.reply(&format!(":t 421 {nick} {command} :Unknown command\r\n"))?,
        }
        Ok(())
    }

    fn join(&self, room: &str) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        locked(&self.rooms).entry(room.to_owned()).or_default().insert(self.nick.clone(), Arc::clone(socket));
        self.tell(room, &format!(":{}!u@h JOIN {room}\r\n", self.nick), true);
        self.reply(&format!(":t 366 {} {room} :End of /NAMES list\r\n", self.nick))
    }

    /// Writes to every member of a room, on this thread.
    fn tell(&self, room: &str, line: &str, also_self: bool) {
        let members: Vec<_> = locked(&self.rooms)
            .get(room)
            .into_iter()
            .flatten()
            .filter(|(nick, _)| also_self || **nick != self.nick)
            .map(|(_, socket)| Arc::clone(socket))
            .collect();
        for member in members {
            // Whose connection has ended is found by the thread that reads it.
            let _ = locked(&member).write_all(line.as_bytes());
        }
    }

    fn reply(&self, text: &str) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| locked(socket).write_all(text.as_bytes()))
    }
}
