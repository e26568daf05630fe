from argparse import Namespace

args: Namespace
