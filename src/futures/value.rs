//! A value in the memory of the process, with its type.

use std::rc::Rc;
use std::time::Duration;

use crate::futures::layout::{Member, Reference, Variant};
use crate::futures::memory::Memory;
use crate::futures::type_name;
use crate::futures::types::{Type, Types};

/// The number of wrappers around a value that are looked through.
const MAX_WRAPPERS: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) of_type: Rc<Type>,
    pub(super) address: u64,
}

/// What reads values: the types of the program and the memory of the process.
pub(super) struct Reader<'r> {
    pub(super) types: &'r mut Types,
    pub(super) memory: &'r Memory,
    /// The address in memory minus the address in the file.
    pub(super) bias: u64,
    /// How many more futures may be visited.
    pub(super) steps_left: usize,
    /// How many more values may be visited.
    pub(super) values_left: usize,
    /// The time of the clock of timers.
    pub(super) now: Option<Duration>,
}

impl Reader<'_> {
    pub(super) fn value(&mut self, from: &Type, of_type: Reference, address: u64) -> Option<Value> {
        self.values_left = self.values_left.checked_sub(1)?;
        Some(Value { of_type: self.types.follow(from, of_type)?, address })
    }

    /// Returns what a member of a value is.
    pub(super) fn of_member(&mut self, value: &Value, member: &Member) -> Option<Value> {
        let address = value.address.checked_add(member.offset)?;
        self.value(&value.of_type, member.of_type, address)
    }

    pub(super) fn member(&mut self, value: &Value, name: &str) -> Option<Value> {
        let member = value.of_type.layout.member(name)?;
        self.of_member(value, member)
    }

    /// Returns the only member that has a size.
    pub(super) fn only_member(&mut self, value: &Value) -> Option<Value> {
        if value.of_type.layout.variants.is_some() {
            return None;
        }
        let mut found = None;
        for member in &value.of_type.layout.members {
            let inner = self.of_member(value, member)?;
            if inner.of_type.layout.size == 0 {
                continue;
            }
            if found.replace(inner).is_some() {
                return None;
            }
        }
        found
    }

    /// Returns what a pointer points to.
    pub(super) fn target(&mut self, value: &Value) -> Option<Value> {
        let layout = &value.of_type.layout;
        let target = layout.target.filter(|_| layout.is_pointer)?;
        let address = self.memory.pointer(value.address)?;
        self.value(&value.of_type, target, address)
    }

    /// Returns the variant that a value has, with its number of the
    /// discriminant.
    pub(super) fn variant<'v>(&mut self, value: &'v Value) -> Option<&'v Variant> {
        let variants = value.of_type.layout.variants.as_ref()?;
        let Some(discriminant) = &variants.discriminant else {
            let [only] = &variants.list[..] else { return None };
            return Some(only);
        };
        let place = self.of_member(value, discriminant)?;
        let size = place.of_type.layout.size;
        let number = self.memory.number(place.address, size)?;
        variants.variant(number, size)
    }

    /// Returns the contents of the variant that an enum has, and the variant's
    /// name.
    pub(super) fn active<'v>(&mut self, value: &'v Value) -> Option<(&'v str, Value)> {
        let member = self.variant(value)?.member.as_ref()?;
        let contents = self.of_member(value, member)?;
        Some((&member.name, contents))
    }

    /// Returns a member by a path of names. Between two names, pointers,
    /// options that are `Some` and wrappers with one member are looked through.
    pub(super) fn at_path(&mut self, value: &Value, path: &[&str]) -> Option<Value> {
        let mut value = value.clone();
        for name in path {
            value = self.with_member(value, name)?;
            value = self.member(&value, name)?;
        }
        Some(value)
    }

    /// Looks through wrappers until a value has a member.
    pub(super) fn with_member(&mut self, mut value: Value, name: &str) -> Option<Value> {
        for _ in 0..MAX_WRAPPERS {
            if value.of_type.layout.member(name).is_some() {
                return Some(value);
            }
            value = self.unwrap(&value)?;
        }
        None
    }

    /// Looks through one pointer or wrapper.
    pub(super) fn unwrap(&mut self, value: &Value) -> Option<Value> {
        if value.of_type.layout.is_pointer {
            return self.target(value);
        }
        if value.of_type.layout.variants.is_some() {
            let (name, contents) = self.active(value)?;
            return if name == "Some" { self.only_member(&contents) } else { None };
        }
        if type_name::base(&value.of_type.path) == "alloc::sync::ArcInner" {
            return self.member(value, "data");
        }
        self.only_member(value)
    }

    /// Looks through wrappers with one member until there is an enum.
    pub(super) fn through_wrappers(&mut self, mut value: Value) -> Option<Value> {
        for _ in 0..MAX_WRAPPERS {
            if value.of_type.layout.variants.is_some() {
                return Some(value);
            }
            value = self.only_member(&value)?;
        }
        None
    }

    /// Returns the members of a tuple in their order.
    pub(super) fn numbered_members(&mut self, tuple: &Value) -> Vec<Value> {
        let count = tuple.of_type.layout.members.len();
        (0..count).map_while(|at| self.member(tuple, &format!("__{at}"))).collect()
    }

    /// Returns the members that have a size.
    pub(super) fn members_with_size(&mut self, value: &Value) -> Vec<Value> {
        let members = value.of_type.layout.members.iter();
        let values: Vec<_> = members.filter_map(|member| self.of_member(value, member)).collect();
        values.into_iter().filter(|value| value.of_type.layout.size > 0).collect()
    }

    /// Looks through wrappers until there is a pointer, and returns it.
    pub(super) fn pointer_in(&mut self, value: &Value) -> Option<u64> {
        let mut value = value.clone();
        for _ in 0..MAX_WRAPPERS {
            if value.of_type.layout.is_pointer {
                return self.memory.pointer(value.address);
            }
            value = self.unwrap(&value)?;
        }
        None
    }

    /// Looks through wrappers until there is a plain number, and returns it.
    pub(super) fn number_in(&mut self, value: &Value) -> Option<u64> {
        let mut value = value.clone();
        for _ in 0..MAX_WRAPPERS {
            let layout = &value.of_type.layout;
            if layout.members.is_empty() && layout.variants.is_none() && !layout.is_pointer {
                return self.memory.number(value.address, layout.size);
            }
            value = self.unwrap(&value)?;
        }
        None
    }
}
