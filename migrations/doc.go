// Package migrations holds the numbered, ordered changes of the log: of its
// layout (which streams there are and how they are set), and of the schemas of
// events.
//
// Migrations are data and pure functions. Package events/log applies a layout
// and reports drift from it; nothing here touches a server. The package knows
// nothing of the others of the project: what servers and logs out there have
// doesn't change with a constant or a type elsewhere.
//
// # Layouts
//
// Every [Migration] carries the whole definition of each stream that it makes
// or changes, so that [Latest] is the last definition of every name and a
// server can be compared with it field by field. A migration that has been
// released is never edited: what it says is what servers out there have. A
// change is a new number.
//
// # Schemas
//
// Events in the log are never rewritten, since hashes cover their bytes. A new
// version of a type is a [SchemaChange], a pure function from the JSON of the
// old version to that of the new one. Readers apply it before they decode: to
// the data of an event ([Upcast]), to what its messages say of registers that
// embed that data ([UpcastState]), and to registers that were kept elsewhere
// ([UpcastRegister]).
//
// An up-caster keeps what it doesn't change to the byte, and writes the rest as
// the code of the new version does. So what was canonical stays so, and whoever
// verifies the log can be as strict about old messages as about new ones.
//
// To add a version: write the function and its line in schemaChanges, change
// the type in package events, add the golden file of the new version. A type
// that writes a register which others write too takes those along.
//
// # Tests
//
// Tests hold the numbering together (1, 2, 3, … without a gap) and keep a
// checksum of every migration and of a golden file of every version of every
// event type that was ever written, so that none can be edited by accident.
// Every old golden file must become the newest one, byte by byte. The up-casters
// are fuzzed.
package migrations
