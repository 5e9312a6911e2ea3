package vm

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// statusPrefix starts the line on the third serial port that carries the exit status.
const statusPrefix = "hostroute-exit "

//go:embed init.sh
var initScript []byte

//go:embed stage2.sh
var stage2Script []byte

// bootModules get the root file system mounted; labModules would be loaded on demand as well, but from the
// initrd that costs nothing and over 9p half a second each. What a kernel has built in is no module and is
// skipped.
var (
	bootModules = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay"}
	labModules  = []string{"vrf", "veth", "bridge", "8021q", "tun", "sch_netem", "crc32c_generic",
		"nf_tables", "nft_limit", "nft_objref", "nft_reject_inet", "af_packet"}
)

// writeInitrd makes the machine's first file system: busybox, the modules in the order of loading, and the job.
func writeInitrd(path string, opts Options) error {
	release, err := kernelRelease(opts.Dir)
	if err != nil {
		return err
	}
	modules, err := modulesFor(filepath.Join(opts.Dir, "lib/modules", release), append(bootModules, labModules...))
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(filepath.Join(opts.Dir, "busybox"))
	if err != nil {
		return fmt.Errorf("reading busybox for the initrd: %w", err)
	}
	var a archive
	for _, dir := range []string{"bin", "proc", "sys", "dev", "host", "top", "new", "modules"} {
		a.dir(dir)
	}
	a.file("init", 0o755, initScript)
	a.file("stage2", 0o755, stage2Script)
	a.file("job", 0o755, jobScript(opts, release))
	a.file("bin/busybox", 0o755, busybox)
	var order strings.Builder
	for _, m := range modules {
		content, err := os.ReadFile(m)
		if err != nil {
			return fmt.Errorf("reading a module for the initrd: %w", err)
		}
		a.file("modules/"+filepath.Base(m), 0o644, content)
		fmt.Fprintln(&order, filepath.Base(m))
	}
	a.file("modules/order", 0o644, []byte(order.String()))
	if err := os.WriteFile(path, a.finish(), 0o600); err != nil {
		return fmt.Errorf("writing the initrd: %w", err)
	}
	return nil
}

// kernelRelease is the name of the one tree below lib/modules.
func kernelRelease(dir string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "lib/modules"))
	if err != nil {
		return "", fmt.Errorf("looking for the kernel's modules: %w: %w", ErrNotPrepared, err)
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("looking for the kernel's modules: %d trees in %s/lib/modules, want one", len(entries), dir)
	}
	return entries[0].Name(), nil
}

// jobScript is what runs in the machine once it is up, as shell assignments and one command.
func jobScript(opts Options, release string) []byte {
	var b strings.Builder
	env := append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "TERM=" + terminalName(opts), InVMEnv + "=1",
	}, opts.Env...)
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		fmt.Fprintf(&b, "export %s=%s\n", key, shellQuote(value))
	}
	fmt.Fprintf(&b, "HR_MODULES=%s\n", shellQuote(filepath.Join(opts.Dir, "lib/modules", release)))
	fmt.Fprintf(&b, "HR_WORKDIR=%s\n", shellQuote(opts.WorkDir))
	fmt.Fprintf(&b, "HR_TERMINAL=%t\n", opts.Terminal)
	// By env, from the host: the name alone would find busybox first.
	b.WriteString("hr_command() { exec /usr/bin/env --")
	for _, arg := range opts.Command {
		b.WriteString(" " + shellQuote(arg))
	}
	b.WriteString("; }\n")
	return []byte(b.String())
}

func terminalName(opts Options) string {
	if name := os.Getenv("TERM"); opts.Terminal && name != "" {
		return name
	}
	return "dumb"
}

// shellQuote makes one word of any text for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
