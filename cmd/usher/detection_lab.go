//go:build lab

package main

// labDetectionVariable turns the detection of crashed leaders off when it is "off", so that
// what it saves can be measured.
const labDetectionVariable = "USHER_LAB_DETECTION"

func noDetection(env func(string) (string, bool)) bool {
	text, _ := env(labDetectionVariable)
	return text == "off"
}
