// Package audit is where questions about history are answered from the log:
// who had an address when, what happened to a guest, whether the log is whole.
//
// Nothing is here yet: in this version `hostroute events` reads history back
// and `hostroute replay --at` computes the past state of a hypervisor.
package audit
