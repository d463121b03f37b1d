package agent

import "errors"

// ErrPermanent marks errors that a restart will not mend: a supervisor should not
// try again before a person has changed something.
var ErrPermanent = errors.New("permanent configuration error")

type permanentError struct{ error }

func (e permanentError) Unwrap() error        { return e.error }
func (e permanentError) Is(target error) bool { return target == ErrPermanent }

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}
