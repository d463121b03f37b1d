package history

// Check reads the history and judges the run.
func Check(in Input) Report {
	return Report{}
}
