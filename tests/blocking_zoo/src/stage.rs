//! What the entries need around them: threads that act late, threads that hold
//! locks, a name server, temporary files.

use std::ffi::CString;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use std::{fmt, fs, thread};

/// Prevents the compiler from turning the preceding call into a jump, which
/// would remove the caller's frame from the stack.
pub(crate) fn keep() {
    std::hint::black_box(());
}

/// Calls `act` on another thread after `stall`.
pub(crate) fn later<T>(stall: Duration, act: impl FnOnce() -> T + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(stall);
        drop(act());
    });
}

/// Runs `acquire` on another thread and returns once it has called
/// [`Holder::hold`], which keeps its argument for `stall`.
pub(crate) fn hold(stall: Duration, acquire: impl FnOnce(Holder) + Send + 'static) {
    let (acquired, is_acquired) = mpsc::channel();
    thread::spawn(move || acquire(Holder { stall, acquired }));
    is_acquired.recv().unwrap();
}

/// Keeps a value, such as a lock guard, for the length of the stall.
pub(crate) struct Holder {
    stall: Duration,
    acquired: mpsc::Sender<()>,
}

impl Holder {
    pub(crate) fn hold<T>(&self, value: T) {
        self.acquired.send(()).unwrap();
        thread::sleep(self.stall);
        drop(value);
    }
}

static SLOW_MILLIS: AtomicU64 = AtomicU64::new(0);
static IS_SLOW: AtomicBool = AtomicBool::new(false);

/// Sets how long [`slowly`] takes.
pub(crate) fn make_slow(stall: Duration) {
    SLOW_MILLIS.store(stall.as_millis() as u64, SeqCst);
}

/// Sleeps for the time set by [`make_slow`].
pub(crate) fn slowly() {
    IS_SLOW.store(true, SeqCst);
    thread::sleep(Duration::from_millis(SLOW_MILLIS.load(SeqCst)));
}

/// Spins until [`slowly`] has begun, which takes a moment only.
pub(crate) fn await_slow() {
    while !IS_SLOW.load(SeqCst) {
        std::hint::spin_loop();
    }
}

static SCRATCH_FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Returns the path of a temporary file that only this process uses.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("blocking-zoo-{}-{name}", std::process::id()));
    SCRATCH_FILES.lock().unwrap().push(path.clone());
    path
}

/// Removes the temporary files. Not to be called by a task: this may block,
/// too.
pub(crate) fn clean_up() {
    for path in SCRATCH_FILES.lock().unwrap().drain(..) {
        let _ = fs::remove_file(path);
    }
}

/// Creates a named pipe.
pub(crate) fn fifo(name: &str) -> PathBuf {
    let path = scratch(name);
    let _ = fs::remove_file(&path);
    let text = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the argument is a string that ends in zero.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    path
}

/// Returns both ends of a TCP connection.
pub(crate) fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// A name server on the loopback interface that knows no name. It delays its
/// first answer.
pub(crate) struct NameServer(u16);

impl NameServer {
    pub(crate) fn start(stall: Duration) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut has_stalled = false;
            loop {
                let mut query = [0_u8; 512];
                let Ok((length, from)) = socket.recv_from(&mut query) else { return };
                if !has_stalled {
                    thread::sleep(stall);
                }
                has_stalled = true;
                // Turns the query into an answer with the code "no such name".
                query[2] |= 0x80;
                query[3] = 0x83;
                let _ = socket.send_to(&query[..length], from);
            }
        });
        Self(port)
    }

    /// Makes the resolver of the calling thread use this server.
    pub(crate) fn ask_on_this_thread(&self) {
        // SAFETY: both functions are the C library's. `__res_state` returns the
        // state of this thread, which `__res_init` has initialised and which
        // begins as `ResolverState` does.
        unsafe {
            __res_init();
            let state = &mut *__res_state();
            state.retrans = 30;
            state.nscount = 1;
            state.nsaddr_list[0] = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: self.0.to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
                sin_zero: [0; 8],
            };
        }
    }
}

impl fmt::Debug for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.0.0.1:{}", self.0)
    }
}

/// The beginning of the C library's `struct __res_state`.
#[repr(C)]
struct ResolverState {
    retrans: i32,
    retry: i32,
    options: u64,
    nscount: i32,
    nsaddr_list: [libc::sockaddr_in; 3],
}

unsafe extern "C" {
    fn __res_init() -> i32;
    fn __res_state() -> *mut ResolverState;
}
