package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/doctor"
)

// Unit asks systemd about the service usher; nil where systemd is not in charge.
func Unit(ctx context.Context) *doctor.Unit {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil
	}
	systemctl, err := exec.LookPath("systemctl")
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, systemctl, "show", "usher.service", "--no-pager",
		"--property=LoadState,ActiveState,Result,UnitFileState,NRestarts,LimitNOFILE")
	cmd.WaitDelay = time.Second
	text, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return &doctor.Unit{Err: fmt.Errorf("systemctl show usher: %w", err)}
	}
	return parseUnit(string(text))
}

// journalLines is how many lines of the journal are read.
const journalLines = "2000"

// Journal is what the service usher logged last; nothing where systemd is not in charge.
func Journal(ctx context.Context) ([]byte, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil, nil
	}
	journalctl, err := exec.LookPath("journalctl")
	if err != nil {
		return nil, nil
	}
	cmd := exec.CommandContext(ctx, journalctl, "--unit=usher.service", "--lines="+journalLines, "--output=short-iso", "--no-pager", "--quiet")
	cmd.WaitDelay = time.Second
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("journalctl: %w", err)
	}
	return text, nil
}

// parseUnit reads systemctl's KEY=VALUE lines.
func parseUnit(text string) *doctor.Unit {
	u := &doctor.Unit{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LoadState":
			u.Load = value
		case "ActiveState":
			u.Active = value
		case "Result":
			u.Result = value
		case "UnitFileState":
			u.File = value
		case "NRestarts":
			u.Restarts, _ = strconv.Atoi(value) // nought if it makes no sense
		case "LimitNOFILE":
			u.Limit, _ = strconv.ParseUint(value, 10, 64)
		}
	}
	return u
}
