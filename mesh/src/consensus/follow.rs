//! How machines without a seat get the log: each follows one that has it.
//!
//! A follower opens a stream to another machine and says what it needs next; the other sends what it has, and then
//! whatever is committed, when it is. Coordinators serve [`FOLLOWERS_OF_COORDINATOR_MAX`] followers each, everybody
//! else [`FOLLOWERS_MAX`], so that a large mesh becomes a tree of a few levels. A machine that is full names others.
//!
//! ```text
//! follower -> Ask { generation, next }
//! upstream <- Elsewhere { peers }                          full, or not on the path itself: end of the stream
//! upstream <- Accepted { generation, depth }               then, for as long as both like:
//!             Image { length, piece }..                    when the entries asked for are not remembered any more
//!             Entries { entries }                          committed entries, without gaps
//!             Beat { next }                                nothing new for a while
//! ```
//!
//! **No cycles.** A coordinator's depth is 0, a follower's is its upstream's when it was accepted, plus 1. While a
//! machine has followers its depth never grows: having lost its upstream, it takes only one of lower depth, and when
//! it finds none for a while it first sends its followers away. So along every chain the depths fall, and a chain
//! ends at a coordinator.
//!
//! A frame is a version byte and the postcard form of `Frame`.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::choose::{Choice, Chooser};
pub use self::client::{FollowOutcome, Follower, View};
pub use self::serve::FollowServer;
pub use self::standing::Standing;
use super::CallError;
use super::image::IMAGE_BYTES_MAX;
use super::raft::BytesVisitor;
use super::seat::LogGeneration;
use crate::identity::Peer;

mod choose;
mod client;
mod serve;
mod standing;

/// A coordinator serves at most so many followers. With three coordinators a mesh of some 200 machines needs no
/// second level; each follower costs it a stream, and a beat's worth of bytes every 20 s.
pub const FOLLOWERS_OF_COORDINATOR_MAX: usize = 64;
/// A machine without a seat serves at most so many followers: what a small machine does not notice.
pub const FOLLOWERS_MAX: usize = 8;
/// No chain is longer. 3 coordinators, 64 followers each and 8 for each of those make 10,000 machines at depth 4;
/// random choices make it a few more.
pub const DEPTH_MAX: u8 = 16;
/// So many others are named to one that is sent elsewhere.
const SUGGESTIONS_MAX: usize = 8;
/// About so many bytes of entries go into a frame (1 MiB), and so many bytes of an image.
const FRAME_BYTES: usize = 1 << 20;
/// An upstream that has nothing to say says so this often. That keeps the connection open, and shows that both ends
/// are there.
const BEAT: Duration = Duration::from_secs(20);
/// A follower gives up an upstream that has said nothing for this long: two beats and a bit.
const SILENCE_MAX: Duration = Duration::from_secs(50);
/// A frame that is not taken within this time ends the stream: the follower is stuck or gone.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// Where a stream's frames come from. The agent implements it with its transport.
#[async_trait::async_trait]
pub trait FrameSource: Send {
    /// The next frame; `None` at the end of the stream.
    ///
    /// Dropping the future must lose no frame.
    ///
    /// # Errors
    /// When the stream broke.
    async fn next(&mut self) -> Result<Option<Bytes>, CallError>;
}

/// Where a stream's frames go. The agent implements it with its transport.
#[async_trait::async_trait]
pub trait FrameSink: Send {
    /// Sends a frame, waiting while the other side is not taking any.
    ///
    /// # Errors
    /// When the stream broke.
    async fn send(&mut self, frame: Bytes) -> Result<(), CallError>;

    /// Waits until the other side has closed the stream. May be pending for ever when that can't be told; the next
    /// frame then tells.
    async fn closed(&mut self) {
        std::future::pending().await
    }
}

/// Opens streams to other machines. The agent implements it with its transport.
#[async_trait::async_trait]
pub trait Streams: Send + Sync + 'static {
    /// Opens a stream that begins with `ask`.
    ///
    /// # Errors
    /// When the machine can't be reached.
    async fn open(
        &self,
        to: Peer,
        ask: Bytes,
        deadline: Duration,
    ) -> Result<Box<dyn FrameSource>, CallError>;
}

const VERSION: u8 = 1;

/// What a follower says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ask {
    /// The log that it has; the default value when it has nothing.
    generation: LogGeneration,
    /// The index that it needs next.
    next: u64,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Frame {
    Accepted {
        generation: LogGeneration,
        depth: u8,
    },
    Elsewhere {
        peers: Vec<Peer>,
    },
    /// Pieces of an image, in order, together `length` bytes.
    Image {
        length: u64,
        piece: Piece,
    },
    Entries {
        entries: Vec<Piece>,
    },
    Beat {
        next: u64,
    },
}

/// Bytes within a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece(Bytes);

impl Serialize for Piece {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor).map(Self)
    }
}

fn encode<T: Serialize>(message: &T) -> Bytes {
    postcard::to_extend(message, vec![VERSION])
        .expect("plain data serializes into memory without errors")
        .into()
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (version, message) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    postcard::from_bytes(message).ok()
}

/// Puts an image together from its pieces.
#[derive(Debug, Default)]
struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Adds a piece. The whole image when it is complete; an error when the pieces contradict each other.
    fn add(&mut self, length: u64, piece: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        if length > IMAGE_BYTES_MAX {
            return Err("the image is too long");
        }
        self.bytes.extend_from_slice(piece);
        let have = self.bytes.len() as u64;
        if have > length || piece.is_empty() {
            return Err("the image's pieces don't fit");
        }
        Ok((have == length).then(|| std::mem::take(&mut self.bytes)))
    }
}
