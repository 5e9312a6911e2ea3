// Package run has contenders do jobs, and measures what that costs them.
package run
