use super::At;
use recast_plugin_api::diag::Findings;
use recast_plugin_api::ir::{Concat, Scan, ValueId};

/// The body, once for each step.
pub fn scan(op: &Scan, at: &mut At<'_>) -> Result<Option<Vec<ValueId>>, Findings> {
    let scanned = (op.states..at.inputs.len()).map(|index| at.input(index)).collect::<Result<Vec<_>, _>>()?;
    let mut states = (0..op.states).map(|index| at.input(index)).collect::<Result<Vec<_>, _>>()?;
    let Some(&first) = scanned.first() else { return Ok(None) };
    let time = at.size(first, 1)?;
    if time == 0 {
        return Ok(None);
    }
    let mut steps: Vec<Vec<ValueId>> = vec![Vec::new(); op.body.outputs.len() - op.states];
    for count in 0..time {
        let step = if op.reverse { time - 1 - count } else { count };
        let mut inputs = states.clone();
        for &value in &scanned {
            inputs.push(at.pick(value, 1, step)?);
        }
        let made = at.graph.splice(&op.body, &inputs)?;
        let output = |index: usize| made[op.body.outputs[index].value.0 as usize];
        states = (0..op.states).filter_map(output).collect();
        for (index, all) in steps.iter_mut().enumerate() {
            if let Some(value) = output(op.states + index) {
                all.push(at.graph.expand(at.path, value, 1)?);
            }
        }
    }
    for mut all in steps {
        if op.reverse {
            all.reverse();
        }
        states.push(if all.len() == 1 { all[0] } else { at.add(Concat { axis: 1 }, &all)? });
    }
    Ok(Some(states))
}
