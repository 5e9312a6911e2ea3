// Package run has contenders do jobs, and measures what that costs them.
//
// # What is measured
//
// The clock starts when the first UPDATE goes out, with sessions to all reflectors there,
// and stops when the kernel's table is what it must be: every route, with the next hop of
// each plane that is up, and no other. What tells is the same for all contenders. A
// sample of routes is looked up every 20 ms, beginning with one that was not right, so that it costs
// next to nothing as long as they aren't. When they are, and the contender has used no CPU
// time for a tenth of a second, the whole table is read, and the time is that since which
// both was so (rest.go). Where the table was not complete yet, the sample is what was
// wrong, and so on.
//
// CPU time and memory are those that the kernel has counted for the contender's processes,
// two seconds later: work that was only put off counts. Reading the tables is done by
// this process and counts for nobody, but takes its share of the machine from all
// alike.
//
// # What fails
//
// A contender that dies or takes too long gets a sample with Failure, and so do the
// jobs that would have followed on the same table. Run itself fails only for what
// no contender is to blame for.
//
// # How it is tested
//
// A comparison of hostroute and BIRD with few routes, all jobs, as root.
package run
