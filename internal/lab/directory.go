package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNotALab is in the chain of the error when a lab's directory holds something else: Down removes the
// directory with all that is in it.
var ErrNotALab = errors.New("it has files and is not a lab's: name another by --dir")

// claimFile marks a directory that a lab may remove.
const claimFile = ".hostroute-lab"

// claim makes a directory the lab's, unless it is something else already.
func claim(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("directory %q: must be an absolute path", dir)
	}
	if err := claimed(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the lab's directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, claimFile), nil, 0o644); err != nil {
		return fmt.Errorf("marking the lab's directory: %w", err)
	}
	return nil
}

// claimed wants a directory to be a lab's, empty, or not there.
func claimed(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking into the lab's directory: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, claimFile)); err != nil {
		return fmt.Errorf("directory %s: %w", dir, ErrNotALab)
	}
	return nil
}
