//! What the entries need around them: who is late, who holds, who answers.

use std::ffi::CString;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use std::{fmt, fs, thread};

/// Keeps the compiler from turning the call before into a jump, which would
/// take the caller's frame off the stack.
pub(crate) fn keep() {
    std::hint::black_box(());
}

/// Does something on another thread once `stall` is over.
pub(crate) fn later<T>(stall: Duration, act: impl FnOnce() -> T + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(stall);
        drop(act());
    });
}

/// Runs `acquire` on another thread, and returns once that has called what it
/// is given: which then keeps its argument for `stall`.
pub(crate) fn hold(stall: Duration, acquire: impl FnOnce(Holder) + Send + 'static) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || acquire(Holder { stall, tell }));
    told.recv().unwrap();
}

/// Keeps what it is given for some time.
pub(crate) struct Holder {
    stall: Duration,
    tell: mpsc::Sender<()>,
}

impl Holder {
    pub(crate) fn hold<T>(&self, what: T) {
        self.tell.send(()).unwrap();
        thread::sleep(self.stall);
        drop(what);
    }
}

static SLOWNESS: AtomicU64 = AtomicU64::new(0);
static IS_SLOW: AtomicBool = AtomicBool::new(false);

/// How long [`slowly`] takes.
pub(crate) fn make_slow(stall: Duration) {
    SLOWNESS.store(stall.as_millis() as u64, SeqCst);
}

/// Takes its time.
pub(crate) fn slowly() {
    IS_SLOW.store(true, SeqCst);
    thread::sleep(Duration::from_millis(SLOWNESS.load(SeqCst)));
}

/// Waits, for a moment only, until [`slowly`] has begun.
pub(crate) fn await_slow() {
    while !IS_SLOW.load(SeqCst) {
        std::hint::spin_loop();
    }
}

static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A path for a file of this process's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("blocking-zoo-{}-{name}", std::process::id()));
    SCRATCH.lock().unwrap().push(path.clone());
    path
}

/// Removes the files; outside of the tasks, as that may take long too.
pub(crate) fn clean_up() {
    for path in SCRATCH.lock().unwrap().drain(..) {
        let _ = fs::remove_file(path);
    }
}

/// A new named pipe.
pub(crate) fn fifo(name: &str) -> PathBuf {
    let path = scratch(name);
    let _ = fs::remove_file(&path);
    let text = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a string that ends in zero.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    path
}

/// Both ends of a connection.
pub(crate) fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// A name server on the loopback interface that knows no name, and takes its
/// time to say so.
pub(crate) struct NameServer(u16);

impl NameServer {
    pub(crate) fn start(stall: Duration) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut late = false;
            loop {
                let mut query = [0_u8; 512];
                let Ok((length, from)) = socket.recv_from(&mut query) else { return };
                if !late {
                    thread::sleep(stall);
                }
                late = true;
                // An answer, and its code: no such name.
                query[2] |= 0x80;
                query[3] = 0x83;
                let _ = socket.send_to(&query[..length], from);
            }
        });
        Self(port)
    }

    /// Makes the calling thread's resolver ask here.
    pub(crate) fn ask_on_this_thread(&self) {
        // SAFETY: both are the C library's; `__res_state` gives the thread's own
        // state, initialised by then, which begins as `ResolverState` does.
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
