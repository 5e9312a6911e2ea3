package events

import (
	"slices"

	"github.com/hostroute/hostroute/migrations"
)

// Type is the stored name of an event type. It is written here and nowhere
// derived from a Go name, so that renaming code can't rename history.
type Type string

// The event types.
const (
	TypeNetworkDefined       Type = "NetworkDefined"
	TypeNetworkRemoved       Type = "NetworkRemoved"
	TypeHypervisorRegistered Type = "HypervisorRegistered"
	TypeHypervisorDrained    Type = "HypervisorDrained"
	TypeHypervisorUndrained  Type = "HypervisorUndrained"
	TypeHypervisorFenced     Type = "HypervisorFenced"
	TypeHypervisorUnfenced   Type = "HypervisorUnfenced"
	TypeVMCreated            Type = "VMCreated"
	TypeVMDeleted            Type = "VMDeleted"
	TypeVMMigrationStarted   Type = "VMMigrationStarted"
	TypeVMMigrated           Type = "VMMigrated"
	TypeVMMigrationAborted   Type = "VMMigrationAborted"
	TypeIPAssigned           Type = "IPAssigned"
	TypeIPMoved              Type = "IPMoved"
	TypeIPReleased           Type = "IPReleased"
)

// Version is the newest schema version of an event type, in which [Event] has it.
// Older ones are read through the up-casters of package migrations.
func (t Type) Version() int { return migrations.Version(string(t)) }

// empty makes the data of an event type, to be decoded into; nil: unknown.
func empty(t Type) Data {
	switch t {
	case TypeNetworkDefined:
		return &NetworkDefined{}
	case TypeNetworkRemoved:
		return &NetworkRemoved{}
	case TypeHypervisorRegistered:
		return &HypervisorRegistered{}
	case TypeHypervisorDrained:
		return &HypervisorDrained{}
	case TypeHypervisorUndrained:
		return &HypervisorUndrained{}
	case TypeHypervisorFenced:
		return &HypervisorFenced{}
	case TypeHypervisorUnfenced:
		return &HypervisorUnfenced{}
	case TypeVMCreated:
		return &VMCreated{}
	case TypeVMDeleted:
		return &VMDeleted{}
	case TypeVMMigrationStarted:
		return &VMMigrationStarted{}
	case TypeVMMigrated:
		return &VMMigrated{}
	case TypeVMMigrationAborted:
		return &VMMigrationAborted{}
	case TypeIPAssigned:
		return &IPAssigned{}
	case TypeIPMoved:
		return &IPMoved{}
	case TypeIPReleased:
		return &IPReleased{}
	}
	return nil
}

// Types lists every event type, sorted.
func Types() []Type {
	t := []Type{
		TypeNetworkDefined, TypeNetworkRemoved,
		TypeHypervisorRegistered, TypeHypervisorDrained, TypeHypervisorUndrained,
		TypeHypervisorFenced, TypeHypervisorUnfenced,
		TypeVMCreated, TypeVMDeleted, TypeVMMigrationStarted, TypeVMMigrated, TypeVMMigrationAborted,
		TypeIPAssigned, TypeIPMoved, TypeIPReleased,
	}
	slices.Sort(t)
	return t
}

// Type names NetworkDefined in the log.
func (*NetworkDefined) Type() Type { return TypeNetworkDefined }

// Type names NetworkRemoved in the log.
func (*NetworkRemoved) Type() Type { return TypeNetworkRemoved }

// Type names HypervisorRegistered in the log.
func (*HypervisorRegistered) Type() Type { return TypeHypervisorRegistered }

// Type names HypervisorDrained in the log.
func (*HypervisorDrained) Type() Type { return TypeHypervisorDrained }

// Type names HypervisorUndrained in the log.
func (*HypervisorUndrained) Type() Type { return TypeHypervisorUndrained }

// Type names HypervisorFenced in the log.
func (*HypervisorFenced) Type() Type { return TypeHypervisorFenced }

// Type names HypervisorUnfenced in the log.
func (*HypervisorUnfenced) Type() Type { return TypeHypervisorUnfenced }

// Type names VMCreated in the log.
func (*VMCreated) Type() Type { return TypeVMCreated }

// Type names VMDeleted in the log.
func (*VMDeleted) Type() Type { return TypeVMDeleted }

// Type names VMMigrationStarted in the log.
func (*VMMigrationStarted) Type() Type { return TypeVMMigrationStarted }

// Type names VMMigrated in the log.
func (*VMMigrated) Type() Type { return TypeVMMigrated }

// Type names VMMigrationAborted in the log.
func (*VMMigrationAborted) Type() Type { return TypeVMMigrationAborted }

// Type names IPAssigned in the log.
func (*IPAssigned) Type() Type { return TypeIPAssigned }

// Type names IPMoved in the log.
func (*IPMoved) Type() Type { return TypeIPMoved }

// Type names IPReleased in the log.
func (*IPReleased) Type() Type { return TypeIPReleased }
