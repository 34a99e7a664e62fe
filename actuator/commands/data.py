"""From the flags to the data: an exporter that is scraped, or a server that is asked."""

from __future__ import annotations

import argparse
import logging

from actuator.data import httpconfigfile
from actuator.data.query import LocalQuery, Query
from actuator.data.scrape import Scraper
from actuator.data.server import ServerQuery
from actuator.data.store import Store
from actuator.engine import Source
from kvmhost.yamltree import Problem

log = logging.getLogger("kvmtune-actuator")


def misfit(options: argparse.Namespace) -> str:
    """Why the flags do not go together, with the next step; empty if they do. A password must not be left unused."""
    if options.query_url and options.scrape_config_file:
        return "--scrape.config.file is for an exporter, and --query.url asks a server: give --query.config.file"
    if options.query_config_file and not options.query_url:
        return "--query.config.file is for a server: give its --query.url, too, or --scrape.config.file instead"
    return ""


def server(options: argparse.Namespace) -> ServerQuery:
    """The server that the flags name; raises InvalidConfig."""
    config = httpconfigfile.load(options.query_config_file)
    _warn(config.warnings)
    return ServerQuery(
        options.query_url,
        config,
        timeout_seconds=options.query_timeout,
        max_age_seconds=getattr(options, "query_max_age", float("inf")),
    )


def scraper(options: argparse.Namespace, store: Store) -> Scraper:
    """The exporter that the flags name; raises InvalidConfig and ScrapeError."""
    config = httpconfigfile.load(options.scrape_config_file)
    _warn(config.warnings)
    return Scraper(options.scrape_url, store, config=config)


def _warn(warnings: tuple[Problem, ...]) -> None:
    """Log what is not wrong in a file and may not be meant."""
    for warning in warnings:
        log.warning("%s", warning)


def source(options: argparse.Namespace, store: Store) -> tuple[Source, Query]:
    """Where the data of each tick come from, and who evaluates rules over them."""
    if options.query_url:
        asked = server(options)
        return asked, asked
    return scraper(options, store), LocalQuery(store)
