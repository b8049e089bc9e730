//! The bytes of SWIM messages: foca's headers and updates, see `docs/wire.md`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Buf, BufMut, BytesMut};
use foca::{Codec, Header, Member, Message, State};

use super::life::Life;
use crate::wire::{Reader, WireError, put_addr, put_machine, put_varint};

/// An identity's format; a later one gets the next number.
const LIFE_V1: u8 = 1;

/// Stands for the address that a destination does not carry.
const NO_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The shortest update: format, machine, generation, address, incarnation, state.
pub(super) const UPDATE_MIN: usize = 1 + 8 + 1 + 7 + 1 + 1;

/// foca's codec. Holds a scratch buffer only: an item is written whole or not at all, as foca demands.
#[derive(Debug, Default)]
pub(super) struct WireCodec {
    scratch: BytesMut,
}

impl WireCodec {
    fn flush(&mut self, mut out: impl BufMut) -> Result<(), WireError> {
        let fits = out.remaining_mut() >= self.scratch.len();
        if fits {
            out.put_slice(&self.scratch);
        }
        self.scratch.clear();
        if fits { Ok(()) } else { Err(WireError::Length) }
    }
}

impl Codec<Life> for WireCodec {
    type Error = WireError;

    fn encode_header(&mut self, header: &Header<Life>, out: impl BufMut) -> Result<(), WireError> {
        put_header(&mut self.scratch, header);
        self.flush(out)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Life>, WireError> {
        decode(buf, read_header)
    }

    fn encode_member(&mut self, member: &Member<Life>, out: impl BufMut) -> Result<(), WireError> {
        put_update(&mut self.scratch, member);
        self.flush(out)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Life>, WireError> {
        decode(buf, read_update)
    }
}

/// Runs a reader over foca's buffer, which is contiguous, and advances it by what was read.
fn decode<T>(
    mut buf: impl Buf,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let mut reader = Reader::new(buf.chunk());
    let before = reader.left().len();
    let value = read(&mut reader)?;
    let used = before - reader.left().len();
    buf.advance(used);
    Ok(value)
}

fn put_life(out: &mut BytesMut, life: &Life) {
    out.put_u8(LIFE_V1);
    put_machine(out, life.machine);
    put_varint(out, life.generation.0);
    put_addr(out, life.addr);
}

fn read_life(reader: &mut Reader<'_>) -> Result<Life, WireError> {
    if reader.u8()? != LIFE_V1 {
        return Err(WireError::Value);
    }
    Ok(Life {
        machine: reader.machine()?,
        generation: reader.generation()?,
        addr: reader.addr()?,
    })
}

fn read_incarnation(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    u16::try_from(reader.varint()?).map_err(|_| WireError::Value)
}

/// The destination goes without its address: it only has to be told from another life of the same machine.
pub(super) fn put_header(out: &mut BytesMut, header: &Header<Life>) {
    put_life(out, &header.src);
    put_varint(out, header.src_incarnation.into());
    put_machine(out, header.dst.machine);
    put_varint(out, header.dst.generation.0);
    put_message(out, &header.message);
}

pub(super) fn read_header(reader: &mut Reader<'_>) -> Result<Header<Life>, WireError> {
    Ok(Header {
        src: read_life(reader)?,
        src_incarnation: read_incarnation(reader)?,
        dst: Life {
            machine: reader.machine()?,
            generation: reader.generation()?,
            addr: NO_ADDR,
        },
        message: read_message(reader)?,
    })
}

pub(super) fn put_update(out: &mut BytesMut, update: &Member<Life>) {
    put_life(out, update.id());
    put_varint(out, update.incarnation().into());
    out.put_u8(match update.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
}

pub(super) fn read_update(reader: &mut Reader<'_>) -> Result<Member<Life>, WireError> {
    let life = read_life(reader)?;
    let incarnation = read_incarnation(reader)?;
    let state = match reader.u8()? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        _ => return Err(WireError::Value),
    };
    Ok(Member::new(life, incarnation, state))
}

fn put_message(out: &mut BytesMut, message: &Message<Life>) {
    let (tag, number, third) = match message {
        Message::Ping(number) => (1, Some(*number), None),
        Message::Ack(number) => (2, Some(*number), None),
        Message::PingReq {
            target,
            probe_number,
        } => (3, Some(*probe_number), Some(target)),
        Message::IndirectPing {
            origin,
            probe_number,
        } => (4, Some(*probe_number), Some(origin)),
        Message::IndirectAck {
            target,
            probe_number,
        } => (5, Some(*probe_number), Some(target)),
        Message::ForwardedAck {
            origin,
            probe_number,
        } => (6, Some(*probe_number), Some(origin)),
        Message::Announce => (7, None, None),
        Message::Feed => (8, None, None),
        Message::Gossip => (9, None, None),
        Message::Broadcast => (10, None, None),
        Message::TurnUndead => (11, None, None),
    };
    out.put_u8(tag);
    if let Some(number) = number {
        out.put_u8(number);
    }
    if let Some(life) = third {
        put_life(out, life);
    }
}

fn read_message(reader: &mut Reader<'_>) -> Result<Message<Life>, WireError> {
    Ok(match reader.u8()? {
        1 => Message::Ping(reader.u8()?),
        2 => Message::Ack(reader.u8()?),
        3 => {
            let (probe_number, target) = (reader.u8()?, read_life(reader)?);
            Message::PingReq {
                target,
                probe_number,
            }
        }
        4 => {
            let (probe_number, origin) = (reader.u8()?, read_life(reader)?);
            Message::IndirectPing {
                origin,
                probe_number,
            }
        }
        5 => {
            let (probe_number, target) = (reader.u8()?, read_life(reader)?);
            Message::IndirectAck {
                target,
                probe_number,
            }
        }
        6 => {
            let (probe_number, origin) = (reader.u8()?, read_life(reader)?);
            Message::ForwardedAck {
                origin,
                probe_number,
            }
        }
        7 => Message::Announce,
        8 => Message::Feed,
        9 => Message::Gossip,
        10 => Message::Broadcast,
        11 => Message::TurnUndead,
        _ => return Err(WireError::Value),
    })
}
