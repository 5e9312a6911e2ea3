// Package migrations holds the numbered, ordered changes of the log: of its
// layout (which streams there are and how they are set) and, as soon as an
// event type has a second version, of the schemas of events.
//
// Migrations are data. Package events/log applies a layout and reports drift
// from it; nothing here touches a server.
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
// version of a type brings a pure function from the data of the old version to
// that of the new one, applied by readers between decoding and folding, and a
// golden file of every version that was ever written. All types are at version
// 1 so far, so there is none yet.
//
// Tests hold the numbering together (1, 2, 3, … without a gap) and keep a
// golden checksum of every migration, so that a released one can't be edited
// by accident.
package migrations
