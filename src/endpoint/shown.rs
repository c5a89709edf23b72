//! An endpoint as it is shown: its record for the list of endpoints, and numbers for its phase and category. IRQL <= `DISPATCH_LEVEL`.

use core::sync::atomic::Ordering;

use wskguard_core::{
    Category, EndpointId, Phase,
    semantics::{Flag, Number, OptionState},
};

use super::Endpoint;

impl Endpoint {
    /// The record as it stands, for the list of endpoints.
    pub fn info(&self, id: EndpointId) -> wskguard_abi::EndpointInfo {
        let state = self.options.load();
        let [low, high] = &self.local;
        let local = u128::from(low.load(Ordering::Relaxed)) | u128::from(high.load(Ordering::Relaxed)) << 64;
        wskguard_abi::EndpointInfo {
            id: id.0,
            client: self.client().id(),
            protocol: self.facts.protocol,
            family: self.facts.family.0,
            socket_type: self.facts.socket_type as u8,
            category: self.facts.category as u8,
            phase: self.phase() as u8,
            mode: crate::control::mode_of(&state) as u8,
            port: self.port(),
            options: option_bits(&state),
            rcvbuf: state.number(Number::RcvBuf).unwrap_or(0),
            sndbuf: state.number(Number::SndBuf).unwrap_or(0),
            linger: state.linger().1,
            reserved: 0,
            process: self.process,
            created: self.created,
            decided: self.uses.load(Ordering::Relaxed) >> 32,
            refused: self.refused.load(Ordering::Relaxed).into(),
            local: local.to_le_bytes(),
        }
    }
}

pub fn phase_of(number: u8) -> Phase {
    match number {
        1 => Phase::Binding,
        2 => Phase::Bound,
        3 => Phase::Listening,
        4 => Phase::Connecting,
        5 => Phase::Connected,
        6 => Phase::Disconnected,
        7 => Phase::KeepAliveFailed,
        8 => Phase::Closing,
        _ => Phase::Unbound,
    }
}

fn option_bits(state: &OptionState) -> u32 {
    use wskguard_abi::option_bits as bits;
    let flags = [
        (Flag::Broadcast, bits::BROADCAST),
        (Flag::Debug, bits::DEBUG),
        (Flag::DontRoute, bits::DONTROUTE),
        (Flag::KeepAlive, bits::KEEPALIVE),
        (Flag::OobInline, bits::OOBINLINE),
        (Flag::ReuseAddr, bits::REUSEADDR),
        (Flag::ExclusiveAddrUse, bits::EXCLUSIVEADDRUSE),
        (Flag::ConditionalAccept, bits::CONDITIONAL_ACCEPT),
    ];
    let linger = if state.linger().0 == 0 { 0 } else { bits::LINGER };
    flags
        .into_iter()
        .filter(|&(flag, _)| state.flag(flag))
        .fold(linger, |all, (_, bit)| all | bit)
}

/// `Category` of a `WSK_FLAG_*_SOCKET`; `None` for what is none.
pub fn category_of(flags: u32) -> Option<Category> {
    match flags {
        wsk_sys::WSK_FLAG_BASIC_SOCKET => Some(Category::Basic),
        wsk_sys::WSK_FLAG_LISTEN_SOCKET => Some(Category::Listen),
        wsk_sys::WSK_FLAG_CONNECTION_SOCKET => Some(Category::Connection),
        wsk_sys::WSK_FLAG_DATAGRAM_SOCKET => Some(Category::Datagram),
        wsk_sys::WSK_FLAG_STREAM_SOCKET => Some(Category::Stream),
        _ => None,
    }
}
