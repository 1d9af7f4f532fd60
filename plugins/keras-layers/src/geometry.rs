//! What convolutions, pooling and resampling read alike from a configuration: where the channels are, and windows.

use crate::policy::as_float;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Dim, Layout, Padding, ValueId};
use recast_plugin_api::lower::Lowering;

/// `data_format`; channels last when it is absent or null.
pub fn layout(l: &Lowering<'_>) -> Result<Layout, Diag> {
    match l.config.str_or("data_format", "channels_last")? {
        "channels_last" => Ok(Layout::ChannelsLast),
        "channels_first" => Ok(Layout::ChannelsFirst),
        _ => Err(l.config.bad("data_format", "channels_last or channels_first")),
    }
}

/// The channel axis of a value of this rank.
pub fn channel_axis(layout: Layout, rank: usize) -> usize {
    match layout {
        Layout::ChannelsLast => rank - 1,
        Layout::ChannelsFirst => 1,
    }
}

/// The spatial axes of a value of this rank.
pub fn spatial_axes(layout: Layout, rank: usize) -> Vec<usize> {
    match layout {
        Layout::ChannelsLast => (1..rank - 1).collect(),
        Layout::ChannelsFirst => (2..rank).collect(),
    }
}

/// Keras' words for padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Valid,
    Same,
    /// As many zeros before as the window reaches back: no output sees what comes later.
    Causal,
    /// What `same` was on Theano: as many outputs, and half of the window before the first element.
    Theano,
    /// The same for its pooling, with as much before the first element as a window can be.
    TheanoPool,
}

pub fn edge(l: &Lowering<'_>) -> Result<Edge, Diag> {
    match l.config.str_or("padding", "valid")?.to_ascii_lowercase().as_str() {
        "valid" => Ok(Edge::Valid),
        "same" => Ok(Edge::Same),
        "causal" => Ok(Edge::Causal),
        // The source's word for a file that was written there.
        "theano" => Ok(Edge::Theano),
        _ => Err(l.config.bad("padding", "valid, same or causal")),
    }
}

/// The padding of each spatial axis.
pub fn padding(edge: Edge, window: &[u64], dilations: &[u64]) -> Vec<Padding> {
    // Padded by one less than the window reaches, n elements give as many outputs as `same` does, whatever the stride.
    let split = |reach: u64, before: u64| Padding::Explicit(before, reach - before);
    let one = |(size, dilation): (&u64, &u64)| {
        let reach = size.saturating_sub(1).saturating_mul(*dilation);
        match edge {
            Edge::Valid => Padding::Explicit(0, 0),
            Edge::Same => Padding::Same,
            Edge::Causal => Padding::Explicit(reach, 0),
            Edge::Theano => split(reach, reach.div_ceil(2)),
            // Theano wants less than a window of padding: Keras took one less, or two less of an odd window.
            Edge::TheanoPool => split(reach, if reach % 2 == 0 { reach.saturating_sub(1) } else { reach }),
        }
    };
    window.iter().zip(dilations).map(one).collect()
}

/// A window that slides: sizes by spatial axis.
pub struct Window {
    pub sizes: Vec<u64>,
    pub strides: Vec<u64>,
    pub dilations: Vec<u64>,
    pub edge: Edge,
    pub layout: Layout,
}

impl Window {
    /// Of a convolution over `n` spatial axes.
    pub fn of_conv(l: &Lowering<'_>, n: usize) -> Result<Window, Diag> {
        let window = Window {
            sizes: l.config.u64s("kernel_size", n)?,
            strides: l.config.u64s_or("strides", n, 1)?,
            dilations: l.config.u64s_or("dilation_rate", n, 1)?,
            edge: edge(l)?,
            layout: layout(l)?,
        };
        window.checked(l)
    }

    /// Of a pooling over `n` spatial axes; the stride is the window's size unless the configuration has another.
    pub fn of_pool(l: &Lowering<'_>, n: usize) -> Result<Window, Diag> {
        let sizes = l.config.u64s_or("pool_size", n, 2)?;
        let strides = match l.config.get("strides") {
            Some(_) => l.config.u64s("strides", n)?,
            None => sizes.clone(),
        };
        let edge = match edge(l)? {
            Edge::Theano => Edge::TheanoPool,
            other => other,
        };
        Window { sizes, strides, dilations: vec![1; n], edge, layout: layout(l)? }.checked(l)
    }

    pub fn checked(self, l: &Lowering<'_>) -> Result<Window, Diag> {
        let lists = [&self.sizes, &self.strides, &self.dilations];
        // Nothing real is larger, and sums of these never overflow.
        let fine = lists.into_iter().flatten().all(|&size| (1..=WINDOW_MAX).contains(&size));
        if fine { Ok(self) } else { Err(l.unsupported("a window, stride or dilation of zero or above 2^24")) }
    }

    pub fn padding(&self) -> Vec<Padding> {
        padding(self.edge, &self.sizes, &self.dilations)
    }
}

pub const WINDOW_MAX: u64 = 1 << 24;

/// The only input as a float of rank `n` + 2, and the leading axes that were folded into one to make it so: Keras 2
/// convolves over the last axes of inputs of any rank.
pub fn spatial_input(l: &mut Lowering<'_>, n: usize, layout: Layout) -> Result<(ValueId, Vec<Dim>), Diag> {
    let x = l.input()?.value;
    let x = as_float(l, x)?;
    let shape = l.shape(x);
    if shape.len() == n + 2 {
        return Ok((x, Vec::new()));
    }
    if shape.len() < n + 2 || layout == Layout::ChannelsFirst {
        return Err(l.unsupported(format!("an input of rank {} where {} is needed", shape.len(), n + 2)));
    }
    let (lead, tail) = shape.split_at(shape.len() - n - 1);
    let folded = lead.iter().fold(Dim::Known(1), |product, dim| product.times(dim));
    let mut flat = vec![folded];
    flat.extend_from_slice(tail);
    Ok((l.reshape(x, flat)?, lead.to_vec()))
}

/// Puts the leading axes back that `spatial_input` folded.
pub fn unfolded(l: &mut Lowering<'_>, y: ValueId, lead: &[Dim]) -> Result<ValueId, Diag> {
    if lead.is_empty() {
        return Ok(y);
    }
    let mut shape = lead.to_vec();
    shape.extend_from_slice(&l.shape(y)[1..]);
    l.reshape(y, shape)
}
