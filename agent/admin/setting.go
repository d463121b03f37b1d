package admin

import (
	"maps"
	"slices"
	"strings"

	"github.com/ushercluster/usher/fsm"
)

func listSettings(c *call) (List[Setting], error) {
	w, err := c.window()
	if err != nil {
		return List[Setting]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[Setting]{}, err
	}
	return listOf(w, fsm.Schema(), func(s fsm.Spec) string { return s.Key }, func(s fsm.Spec) Setting { return settingOf(v, s) }), nil
}

// spec is the setting that the path names.
func (c *call) spec() (fsm.Spec, error) {
	key := c.r.PathValue("key")
	if s, ok := fsm.SchemaOf(key); ok {
		return s, nil
	}
	_, err := fsm.Canonical(key, "") // its error knows what was meant
	return fsm.Spec{}, err
}

func showSetting(c *call) (Setting, error) {
	spec, err := c.spec()
	if err != nil {
		return Setting{}, err
	}
	v, err := c.read()
	if err != nil {
		return Setting{}, err
	}
	return settingOf(v, spec), nil
}

// checkSetting is what the state would say of a value, and what it cannot know.
func (c *call) checkSetting(key, value string) error {
	canon, err := fsm.Canonical(key, value)
	if err != nil {
		return err
	}
	if err := c.s.cfg.ValidateSetting(key, canon); err != nil {
		return invalid("setting "+key+": "+err.Error(), "")
	}
	return nil
}

func setSetting(c *call, in SettingValue) (Setting, error) {
	spec, err := c.spec()
	if err != nil {
		return Setting{}, err
	}
	if err := c.checkSetting(spec.Key, in.Value); err != nil {
		return Setting{}, err
	}
	if _, err := c.propose(&fsm.SetSetting{Key: spec.Key, Value: in.Value, If: c.cond.match}); err != nil {
		return Setting{}, err
	}
	return settingOf(c.view, spec), nil
}

func unsetSetting(c *call, _ Nothing) (Setting, error) {
	spec, err := c.spec()
	if err != nil {
		return Setting{}, err
	}
	if _, err := c.propose(&fsm.UnsetSetting{Key: spec.Key, If: c.cond.match}); err != nil {
		return Setting{}, err
	}
	return settingOf(c.view, spec), nil
}

func exportSettings(c *call) (Settings, error) {
	all, err := c.flag("all")
	if err != nil {
		return Settings{}, err
	}
	v, err := c.read()
	if err != nil {
		return Settings{}, err
	}
	return exported(v, all), nil
}

func exported(v fsm.View, all bool) Settings {
	out := Settings{Settings: map[string]string{}}
	for _, s := range fsm.Schema() {
		if all || v.SettingRow(s.Key) != nil {
			out.Settings[s.Key] = v.Text(s.Key)
		}
	}
	return out
}

func importSettings(c *call, in Settings) (Settings, error) {
	if len(in.Settings) == 0 && !in.Reset {
		return Settings{}, invalid("no settings are named", `give them as {"settings": {"KEY": "VALUE"}}`)
	}
	cmd := &fsm.ImportSettings{Reset: in.Reset}
	for _, key := range slices.Sorted(maps.Keys(in.Settings)) {
		if err := c.checkSetting(key, in.Settings[key]); err != nil {
			return Settings{}, err
		}
		cmd.Pairs = append(cmd.Pairs, fsm.Pair{Key: key, Value: in.Settings[key]})
	}
	if _, err := c.propose(cmd); err != nil {
		return Settings{}, err
	}
	return exported(c.view, false), nil
}

// settingHistory is the audit's rows about settings: of one, or of all.
func settingHistory(c *call) (List[Audit], error) {
	key := ""
	if c.r.PathValue("key") != "" {
		spec, err := c.spec()
		if err != nil {
			return List[Audit]{}, err
		}
		key = spec.Key
	}
	return c.auditPage(func(a *fsm.Audit) bool { return touchesSetting(a, key) })
}

// touchesSetting reports whether an audit row is about a setting; "" is any. The
// list of an import's keys is cut when it is long: then it may be.
func touchesSetting(a *fsm.Audit, key string) bool {
	switch a.Action {
	case fsm.KindSetSetting.String(), fsm.KindUnsetSetting.String():
		return key == "" || a.Target == key
	case fsm.KindImportSettings.String():
		_, keys, _ := strings.Cut(a.Detail, ": ")
		return key == "" || strings.HasSuffix(keys, "…") || slices.Contains(strings.Split(keys, ","), key)
	}
	return false
}
