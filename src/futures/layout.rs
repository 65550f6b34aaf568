//! The layout of a type, from its entry in the debug information.

use gimli::{AttributeValue, EntriesRaw, Reader, UnitOffset, constants};

use crate::diagnose::image::{Bytes, OpenUnit};
use crate::futures::unit_entries;

/// The limits of what is read of one type.
const MAX_MEMBERS: usize = 1024;
const MAX_VARIANTS: usize = 4096;
const MAX_PARAMETERS: usize = 64;
/// A longer name is cut.
pub(super) const MAX_NAME_BYTES: usize = 16 * 1024;
const MAX_MEMBER_NAME_BYTES: usize = 256;

/// The place of an entry: the offset of its unit and its offset in the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EntryId {
    pub(super) unit: usize,
    pub(super) entry: usize,
}

/// What an attribute refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference {
    InUnit(usize),
    InFile(usize),
}

impl Reference {
    pub(super) fn from_value(value: &AttributeValue<Bytes>) -> Option<Self> {
        match value {
            AttributeValue::UnitRef(offset) => Some(Self::InUnit(offset.0)),
            AttributeValue::DebugInfoRef(offset) => Some(Self::InFile(offset.0)),
            _ => None,
        }
    }
}

/// A type as the debug information describes it.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Without its module.
    pub(super) name: String,
    pub(super) size: u64,
    /// What a pointer points to.
    pub(super) target: Option<Reference>,
    pub(super) is_pointer: bool,
    /// The place of the name in the section of names, if the entry does not
    /// say more than the name.
    pub(super) declared_name: Option<u32>,
    /// What a table of functions is for.
    pub(super) containing_type: Option<Reference>,
    pub(super) members: Vec<Member>,
    /// The type parameters.
    pub(super) parameters: Vec<(String, Reference)>,
    pub(super) variants: Option<Variants>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) of_type: Reference,
    pub(super) offset: u64,
    pub(super) file: Option<u64>,
    pub(super) line: Option<u32>,
}

/// The variants of an enum or of an async function's state.
#[derive(Debug, Default)]
pub(super) struct Variants {
    /// The member that says which variant there is.
    pub(super) discriminant: Option<Member>,
    pub(super) list: Vec<Variant>,
}

#[derive(Debug, Default)]
pub(super) struct Variant {
    /// The values of the discriminant. Empty for the variant of all others.
    pub(super) values: Vec<(u64, u64)>,
    pub(super) member: Option<Member>,
}

impl Layout {
    /// Reads the type at an entry.
    pub(super) fn read(unit: &OpenUnit, entry: usize) -> Option<Self> {
        Self::try_read(unit, entry).ok()
    }

    fn try_read(unit: &OpenUnit, entry: usize) -> gimli::Result<Self> {
        let mut entries = unit.entries().entries_raw(Some(UnitOffset(entry)))?;
        let own_depth = entries.next_depth();
        let mut layout = Self::default();
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(layout) };
        layout.is_pointer = abbreviation.tag() == constants::DW_TAG_pointer_type;
        let (mut name_offset, mut is_declaration) = (None, false);
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            let value = attribute.value();
            match attribute.name() {
                constants::DW_AT_declaration => is_declaration = true,
                constants::DW_AT_name => {
                    name_offset = unit_entries::name_offset(unit, &value);
                    layout.name = unit.text(value, MAX_NAME_BYTES).unwrap_or_default();
                }
                constants::DW_AT_byte_size => layout.size = value.udata_value().unwrap_or_default(),
                constants::DW_AT_type => layout.target = Reference::from_value(&value),
                constants::DW_AT_containing_type => layout.containing_type = Reference::from_value(&value),
                _ => {}
            }
        }
        layout.declared_name = name_offset.filter(|_| is_declaration);
        if layout.is_pointer && layout.size == 0 {
            layout.size = 8;
        }
        if abbreviation.has_children() {
            layout.read_children(unit, &mut entries, own_depth)?;
        }
        Ok(layout)
    }

    fn read_children(
        &mut self,
        unit: &OpenUnit,
        entries: &mut EntriesRaw<'_, Bytes>,
        own_depth: isize,
    ) -> gimli::Result<()> {
        // The depth of the part with the variants and of the variant that the
        // reader is in.
        let (mut part_depth, mut variant_depth) = (None::<isize>, None::<isize>);
        let mut discriminant = None;
        while !entries.is_empty() && entries.next_depth() > own_depth {
            let (offset, depth) = (entries.next_offset().0, entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            if variant_depth.is_some_and(|of| depth <= of) {
                variant_depth = None;
            }
            if part_depth.is_some_and(|of| depth <= of) {
                part_depth = None;
            }
            let specifications = abbreviation.attributes();
            let is_own = depth == own_depth + 1;
            match abbreviation.tag() {
                constants::DW_TAG_member if is_own || part_depth.is_some_and(|of| depth == of + 1) => {
                    let member = Member::read(unit, entries, specifications)?;
                    match (&mut self.variants, is_own) {
                        (Some(variants), false) if discriminant == Some(offset) => {
                            variants.discriminant = member
                        }
                        (_, true) if self.members.len() < MAX_MEMBERS => self.members.extend(member),
                        _ => {}
                    }
                }
                constants::DW_TAG_member if variant_depth.is_some_and(|of| depth == of + 1) => {
                    let member = Member::read(unit, entries, specifications)?;
                    if let Some(variant) =
                        self.variants.as_mut().and_then(|variants| variants.list.last_mut())
                    {
                        variant.member = variant.member.take().or(member);
                    }
                }
                constants::DW_TAG_template_type_parameter if is_own => {
                    let (name, of_type) = named_type(unit, entries, specifications)?;
                    if let (Some(name), Some(of_type)) = (name, of_type)
                        && self.parameters.len() < MAX_PARAMETERS
                    {
                        self.parameters.push((name, of_type));
                    }
                }
                constants::DW_TAG_variant_part if is_own && self.variants.is_none() => {
                    part_depth = Some(depth);
                    self.variants = Some(Variants::default());
                    for specification in specifications {
                        let attribute = entries.read_attribute(*specification)?;
                        if attribute.name() == constants::DW_AT_discr
                            && let AttributeValue::UnitRef(offset) = attribute.value()
                        {
                            discriminant = Some(offset.0);
                        }
                    }
                }
                constants::DW_TAG_variant if part_depth.is_some_and(|of| depth == of + 1) => {
                    variant_depth = Some(depth);
                    let mut variant = Variant::default();
                    for specification in specifications {
                        let attribute = entries.read_attribute(*specification)?;
                        match attribute.name() {
                            constants::DW_AT_discr_value => {
                                variant.values.extend(bits(&attribute.value()).map(|bits| (bits, bits)));
                            }
                            // The Rust compiler does not write it so far.
                            constants::DW_AT_discr_list => return Err(gimli::Error::UnsupportedOffset),
                            _ => {}
                        }
                    }
                    if let Some(variants) = &mut self.variants {
                        if variants.list.len() >= MAX_VARIANTS {
                            return Err(gimli::Error::UnsupportedOffset);
                        }
                        variants.list.push(variant);
                    }
                }
                _ => entries.skip_attributes(specifications)?,
            }
        }
        Ok(())
    }

    /// Returns whether another description of a type of the same name may be
    /// that of the same type.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let places = |layout: &Self| {
            let of_members = layout.members.iter().map(|member| (member.name.clone(), member.offset));
            of_members.collect::<Vec<_>>()
        };
        let values = |layout: &Self| {
            let list = layout.variants.iter().flat_map(|variants| &variants.list);
            let line = |variant: &Variant| variant.member.as_ref().and_then(|member| member.line);
            list.map(|variant| (variant.values.clone(), line(variant))).collect::<Vec<_>>()
        };
        self.size == other.size && places(self) == places(other) && values(self) == values(other)
    }

    /// Returns about how much memory this takes.
    pub(super) fn kept_bytes(&self) -> usize {
        let of_member = |member: &Member| size_of::<Member>() + member.name.len();
        let of_variant = |variant: &Variant| {
            let values = size_of_val(variant.values.as_slice());
            size_of::<Variant>() + values + variant.member.as_ref().map_or(0, |member| member.name.len())
        };
        let variants = self.variants.iter().flat_map(|variants| &variants.list);
        let parameters =
            self.parameters.iter().map(|(name, _)| size_of::<(String, Reference)>() + name.len());
        size_of::<Self>()
            + self.name.len()
            + self.members.iter().map(of_member).sum::<usize>()
            + variants.map(of_variant).sum::<usize>()
            + parameters.sum::<usize>()
    }

    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<Reference> {
        self.parameters.iter().find(|(parameter, _)| parameter == name).map(|(_, of_type)| *of_type)
    }
}

impl Variants {
    /// Returns the variant that has a value of the discriminant of `size`
    /// bytes; `None` if no variant has it.
    pub(super) fn variant(&self, value: u64, size: u64) -> Option<&Variant> {
        let mask =
            u64::MAX.checked_shr(64_u32.saturating_sub(u32::try_from(size).ok()?.saturating_mul(8)))?;
        let is_of = |variant: &&Variant| {
            variant.values.iter().any(|(first, last)| (first & mask..=last & mask).contains(&(value & mask)))
        };
        let all_others = || {
            let mut defaults = self.list.iter().filter(|variant| variant.values.is_empty());
            defaults.next().filter(|_| defaults.next().is_none())
        };
        self.list.iter().find(is_of).or_else(all_others)
    }
}

impl Member {
    fn read(
        unit: &OpenUnit,
        entries: &mut EntriesRaw<'_, Bytes>,
        specifications: &[gimli::AttributeSpecification],
    ) -> gimli::Result<Option<Self>> {
        let (mut name, mut of_type, mut offset) = (String::new(), None, 0);
        let (mut file, mut line) = (None, None);
        for specification in specifications {
            let attribute = entries.read_attribute(*specification)?;
            let value = attribute.value();
            match attribute.name() {
                constants::DW_AT_name => name = unit.text(value, MAX_MEMBER_NAME_BYTES).unwrap_or_default(),
                constants::DW_AT_type => of_type = Reference::from_value(&value),
                constants::DW_AT_data_member_location => offset = value.udata_value().unwrap_or(u64::MAX),
                constants::DW_AT_decl_file => {
                    file = match value {
                        AttributeValue::FileIndex(number) => Some(number),
                        value => value.udata_value(),
                    };
                }
                constants::DW_AT_decl_line => {
                    line = value
                        .udata_value()
                        .and_then(|line| u32::try_from(line).ok())
                        .filter(|line| *line > 0);
                }
                _ => {}
            }
        }
        Ok(of_type.map(|of_type| Self { name, of_type, offset, file, line }))
    }
}

/// Reads the attributes of an entry and returns its name and its type.
fn named_type(
    unit: &OpenUnit,
    entries: &mut EntriesRaw<'_, Bytes>,
    specifications: &[gimli::AttributeSpecification],
) -> gimli::Result<(Option<String>, Option<Reference>)> {
    let (mut name, mut of_type) = (None, None);
    for specification in specifications {
        let attribute = entries.read_attribute(*specification)?;
        match attribute.name() {
            constants::DW_AT_name => name = unit.text(attribute.value(), MAX_MEMBER_NAME_BYTES),
            constants::DW_AT_type => of_type = Reference::from_value(&attribute.value()),
            _ => {}
        }
    }
    Ok((name, of_type))
}

/// Returns the bits of a constant. A signed constant is the same bits.
fn bits(value: &AttributeValue<Bytes>) -> Option<u64> {
    match value {
        AttributeValue::Sdata(value) => Some(value.cast_unsigned()),
        AttributeValue::Data1(value) => Some(u64::from(*value)),
        AttributeValue::Data2(value) => Some(u64::from(*value)),
        AttributeValue::Data4(value) => Some(u64::from(*value)),
        AttributeValue::Data8(value) => Some(*value),
        // A discriminant of 16 bytes.
        AttributeValue::Block(bytes) => {
            let mut bytes = bytes.clone();
            if bytes.len() == 16 { bytes.read_u64().ok() } else { None }
        }
        value => value.udata_value(),
    }
}
