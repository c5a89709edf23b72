# What the scripts share. Not to be run by itself.

$ServiceName = 'wskguard'
$InfName = 'wskguard.inf'
# Windows 10 2004 and Server 2022, as the INF says.
$OldestBuild = 19041

function Get-PackageFolder {
    Split-Path -Parent $PSScriptRoot
}

# Runs a program and returns its output. Throws unless it ends with one of $Accept.
function Invoke-Tool {
    param([string] $Program, [string[]] $Arguments, [int[]] $Accept = @(0))
    $output = & $Program @Arguments 2>&1 | Out-String
    if ($Accept -notcontains $LASTEXITCODE) {
        throw "$Program $($Arguments -join ' ') ended with ${LASTEXITCODE}:`n$output"
    }
    $output
}

function Assert-Windows {
    $build = [Environment]::OSVersion.Version.Build
    if ($build -lt $OldestBuild) {
        throw "Windows build $build is too old: wskguard needs $OldestBuild (10 2004, Server 2022) or later."
    }
}

function Assert-TestSigning {
    $bcd = Invoke-Tool 'bcdedit.exe' @('/enum', '{current}')
    if ($bcd -notmatch '(?im)^testsigning\s+(\S+)\s*$' -or $Matches[1] -match '^(No|0)$') {
        throw 'Test signing is off. With Secure Boot off: bcdedit /set testsigning on, restart, and run this again.'
    }
}

# 3010 and 1641: done, and a restart is needed or has begun. 259: there is nothing newer to install.
function Install-Package {
    param([string] $Folder)
    $output = Invoke-Tool 'pnputil.exe' @('/add-driver', (Join-Path $Folder $InfName), '/install') @(0, 259, 1641, 3010)
    Write-Host $output
    if (3010, 1641 -contains $LASTEXITCODE) {
        Write-Warning 'Windows wants a restart before the new driver runs.'
    }
}

# The published names (oemNN.inf) under which the driver store holds this package, newest last.
function Get-PublishedName {
    Get-WindowsDriver -Online |
        Where-Object { [IO.Path]::GetFileName($_.OriginalFileName) -eq $InfName } |
        Sort-Object -Property Date, Version |
        ForEach-Object { $_.Driver }
}

function Start-Guard {
    $service = Get-Service -Name $ServiceName
    if ($service.Status -ne 'Running') {
        Invoke-Tool 'sc.exe' @('start', $ServiceName) | Out-Null
    }
}

# 7 is wskguardctl's code for: clients or sockets still hold the driver; it has named them.
function Stop-Guard {
    param([string] $Folder, [int] $WaitSeconds = 5)
    $ctl = Join-Path $Folder 'wskguardctl.exe'
    & $ctl stop --wait "${WaitSeconds}s" | Out-Host
    switch ($LASTEXITCODE) {
        0 { return $true }
        3 { return $true } # not loaded
        7 { return $false }
        default { throw "wskguardctl stop ended with $LASTEXITCODE" }
    }
}

function Show-Status {
    param([string] $Folder)
    $ctl = Join-Path $Folder 'wskguardctl.exe'
    & $ctl status
    if ($LASTEXITCODE -ne 0) {
        throw "wskguardctl status ended with $LASTEXITCODE: the driver is installed but does not answer."
    }
}
