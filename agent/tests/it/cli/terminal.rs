//! The live view on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::asking::status;
use super::node::{Node, muster};

/// How long drawing may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pieces of what is drawn that wait to be looked at; a reader that waits for us makes the view wait too.
const PIECES_QUEUED_MAX: usize = 16;

/// A terminal that shows what it gets and never answers a question, of 80 x 24 characters.
fn deaf_terminal() -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let controller = openpt(flags).expect("a terminal");
    grantpt(&controller).expect("ours");
    unlockpt(&controller).expect("ours");
    let user = ioctl_tiocgptpeer(&controller, flags).expect("its other end");
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&user, size).expect("it has a size");
    (controller.into(), user.into())
}

#[test]
fn a_terminal_that_does_not_tell_its_cursor_shows_the_live_view() {
    let node = Node::answering((0..8).map(|_| Ok(status(3))));
    let (mut controller, user) = deaf_terminal();
    let end = || Stdio::from(user.try_clone().expect("a descriptor is free"));
    let mut command = muster(&["status", "--watch", "--node"]);
    command.arg(node.socket()).env("TERM", "xterm");
    command.stdin(end()).stdout(end()).stderr(Stdio::inherit());
    let mut child = command.spawn().expect("the binary runs");
    drop((command, user));

    let (tx, drawn) = mpsc::sync_channel(PIECES_QUEUED_MAX);
    let mut screen = controller.try_clone().expect("a descriptor is free");
    std::thread::spawn(move || {
        let mut shown = Vec::new();
        let mut piece = [0; 4096];
        // Ends with an error when nobody has the other end any more.
        while let Ok(count @ 1..) = screen.read(&mut piece) {
            shown.extend_from_slice(&piece[..count]);
            if tx
                .send(String::from_utf8_lossy(&shown).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    let mut shown = String::new();
    while !shown.contains("DECISIONS") {
        let next = drawn.recv_timeout(PATIENCE);
        shown = next.unwrap_or_else(|error| panic!("{error} after {shown:?}"));
    }
    assert!(
        !shown.contains("\x1b[6n"),
        "it asked for the cursor: {shown:?}"
    );
    // Whatever else it draws must be read, or it would wait for us.
    std::thread::spawn(move || drawn.iter().for_each(drop));
    controller.write_all(b"q").expect("it listens");
    assert!(child.wait().expect("it ends").success());
}
