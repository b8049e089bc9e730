//! How people and programs ask a machine about the fleet, and tell it what they want.
//!
//! One protocol over two carriers: newline-delimited JSON over the machine's own Unix socket ([`server`],
//! [`client`]), and the same bytes over a mesh stream for an operator who asks from elsewhere. A request is one
//! JSON object on one line, tagged by `op`; an answer is one line `{"ok":{…}}` or `{"error":{…}}`. Only
//! `events` with `follow` answers with many lines, one event each, until either side hangs up.
//!
//! ```text
//! > {"op":"machine","name":"web-1"}
//! < {"ok":{"answer":"machine","name":"web-1","status":"alive",…}}
//! > {"op":"machine","name":"web-9"}
//! < {"error":{"kind":"not_found","message":"no machine is called `web-9`","remedy":"`muster members` lists them"}}
//! ```
//!
//! The node implements [`Backend`]; everything here is carrying, limits and shapes. Reads are answered from the
//! node's own copy and say how old it is ([`types::AsOf`]).

mod backend;
pub mod client;
mod lines;
pub mod server;
mod socket;
pub mod types;

pub use backend::{Backend, Caller};
pub use socket::{BindError, Socket};
pub use types::{ApiError, ErrorKind, Reply, Request, Response};
