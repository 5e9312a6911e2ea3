package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return a.command("version", "Say which hostroute this is", "hostroute version", func(context.Context, []string) error {
		v := version()
		if a.json {
			return writeJSON(a.stdout, v)
		}
		_, err := fmt.Fprintf(a.stdout, "hostroute %s %s %s\n", v.Version, v.Go, v.Platform)
		return err
	})
}

// build says which program this is.
type build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// version is what the Go tool knows of the build: the module's version, and
// the commit where it was built from a working copy.
func version() build {
	v := build{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = orDefault(info.Main.Version, v.Version)
	if v.Version != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v.Version = s.Value[:12]
		}
	}
	return v
}
