"""What modules do again and again."""
import subprocess
import sys


def run_cmd(command, input=None):
    """Runs a program, a list of its name and arguments, and returns what it printed on standard output, as text.

    `input` is text for its standard input. Raises subprocess.CalledProcessError when its exit code is not 0, so that a
    step that failed fails the module.
    """
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if input is not None and not isinstance(input, bytes):
        input = input.encode('utf-8')
    output = program.communicate(input)[0]
    if program.returncode != 0:
        sys.stderr.write(output.decode('utf-8', 'replace'))
        raise subprocess.CalledProcessError(program.returncode, command)
    return output.decode('utf-8', 'replace')
